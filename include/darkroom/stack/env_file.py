"""`.env` for docker-compose.yaml, with fresh secrets; and the part of it that a further host needs."""

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from darkroom.errors import BadRequest
from darkroom.stack.credentials import Credentials
from darkroom.stack.home import write_private

BUCKET_STORE = "s3://darkroom/plant"
"""The store in the S3 server that may run beside the plant."""
S3_PORT, BROKER_PORT, API_PORT = 7070, 6379, 8080
_FOR_HOSTS = (
    "VALKEY_PASSWORD", "DARKROOM_STORE", "DARKROOM_SOURCE_ROOTS", "DARKROOM_TAG", "DARKROOM_LOG_FORMAT",
    "DARKROOM_OTLP_ENDPOINT", "DARKROOM_STATSD", "DARKROOM_SENTRY_DSN", "DARKROOM_AIRFLOW_OVERRIDES",
)  # fmt: skip
"""Beside the store's `AWS_...`: neither the database's password nor a signing key."""


def write_plant(path: Path, *, s3: bool = False, force: bool = False) -> None:
    """Write what the plant's containers need, with fresh secrets.

    Args:
        path: `.env`.
        s3: run an S3 server beside the plant and keep the pictures there.
        force: replace the file.

    Raises:
        BadRequest: the file exists and `force` was not given.
    """
    if path.exists() and not force:
        raise BadRequest(f"{path} exists and its secrets may be in use; --force replaces them")
    fresh = Credentials()
    values = {
        "POSTGRES_PASSWORD": fresh.postgres_password,
        "VALKEY_PASSWORD": fresh.valkey_password,
        "AIRFLOW__CORE__FERNET_KEY": fresh.fernet_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": fresh.jwt_secret,
        "AIRFLOW__API__SECRET_KEY": fresh.api_secret_key,
        "ADMIN_PASSWORD": fresh.admin_password,
        "PLANT_PASSWORD": secrets.token_urlsafe(24),
        "METRICS_TOKEN": secrets.token_urlsafe(24),
        "HOST_NAME": socket.gethostname(),
        "COMPOSE_PROFILES": "cpu,s3" if s3 else "cpu",
    }
    if s3:
        values |= {
            "DARKROOM_STORE": BUCKET_STORE,
            "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
            "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
            "AWS_ENDPOINT_URL": f"http://s3:{S3_PORT}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }
    _write(path, values)


def write_host(path: Path, plant: Path, address: str, *, force: bool = False) -> None:
    """Write what a further host's containers need to work for the plant.

    Args:
        path: where to; on the host it is called `.env`.
        plant: the plant's own `.env`.
        address: name or IP at which the plant's machine publishes broker and API.
        force: replace the file.

    Raises:
        BadRequest: the file exists and `force` was not given, or the plant has no `.env`.
    """
    if path.exists() and not force:
        raise BadRequest(f"{path} exists; --force replaces it")
    if not plant.is_file():
        raise BadRequest(f"there is no {plant}: `darkroom env` writes it, on the plant's machine")
    own = {key: value for key, value in dotenv_values(plant).items() if value}
    values = {key: own[key] for key in own if key in _FOR_HOSTS or key.startswith("AWS_")}
    if urlsplit(own.get("AWS_ENDPOINT_URL", "")).hostname == "s3":
        values["AWS_ENDPOINT_URL"] = f"http://{address}:{S3_PORT}"
    _write(path, values | {
        "PLANT_BROKER": f"{address}:{BROKER_PORT}",
        "PLANT_API": f"http://{address}:{API_PORT}",
        "COMPOSE_FILE": "docker-compose.workers.yaml",
        "COMPOSE_PROFILES": "gpu",
    })  # fmt: skip


def _write(path: Path, values: Mapping[str, str]) -> None:
    write_private(path, "".join(f"{key}={value}\n" for key, value in values.items()))
