"""What each process of the stack finds in its environment, and what it must not find there."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from darkroom.settings import REPOSITORY, settings
from darkroom.stack.airflow_settings import environ
from darkroom.stack.home import Home
from darkroom.stack.join import Join
from darkroom.stack.layout import BROKER, PROGRESS, RESULTS, Stack
from darkroom.stack.outlets import outlets

MARK = "DARKROOM_STACK_OF"
"""In every process of a stack, with its state folder: that is how leftovers of a crash are found.

Not `DARKROOM_HOME`: a shell that exports it is none of ours to end.
"""
_NOT_INHERITED = ("AIRFLOW", "SUPERVISOR_", "PYTHONPATH", "CELERY_", "DARKROOM_API_", MARK)
"""A person's token for another plant is nothing that this one's tasks should find."""


def base(home: Home) -> dict[str, str]:
    """For all: the caller's environment with our paths, without secrets of the stack."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}
    return inherited | {
        "AIRFLOW_HOME": str(home.airflow),
        "DARKROOM_HOME": str(home.path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        # Airflow puts the DAG bundle, config/ and plugins/ on sys.path, not include/.
        "PYTHONPATH": str(REPOSITORY / "include"),
        "PYTHONUNBUFFERED": "1",
        # A proxy must not catch the loopback.
        "NO_PROXY": _no_proxy("NO_PROXY"),
        "no_proxy": _no_proxy("no_proxy"),
        # Process titles must not overwrite the environment that MARK is read from.
        "SPT_NOENV": "1",
    }


def worker(stack: Stack) -> dict[str, str]:
    """For the stack's own Celery workers."""
    return joined(Join.of(stack), stack.home)


def joined(join: Join, home: Home) -> dict[str, str]:
    """For Celery workers: the broker and the execution API, neither database nor signing keys.

    What a fleet's column leaves to the deployment is what the other column makes of `join`.
    """
    values = {
        "repository": str(REPOSITORY),
        "airflow_home": str(home.airflow),
        "api_url": join.api_url,
        "api_port": str(urlsplit(join.api_url).port or 80),
        "broker_url": join.broker_url,
        "result_backend": join.result_url,
    }
    return {
        **outlets(settings()),
        **environ("laptop", values, with_secrets=False),
        **environ(join.profile, values, with_secrets=False),
        # Airflow wants some database to record the command line in; by default it would create a file.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite://",
        "DARKROOM_REDIS_URL": join.redis_url,
    }


def airflow(stack: Stack) -> dict[str, str]:
    """For Airflow's own processes."""
    return {
        **outlets(settings()),
        **environ("laptop", _values(stack), with_secrets=True),
        "DARKROOM_REDIS_URL": stack.redis_url(PROGRESS),
    }


def _values(stack: Stack) -> dict[str, str]:
    secrets = stack.credentials
    return {
        "repository": str(REPOSITORY),
        "airflow_home": str(stack.home.airflow),
        "api_url": stack.api_url,
        "api_port": str(stack.ports["api"]),
        "postgres_url": stack.postgres_url,
        "broker_url": stack.redis_url(BROKER),
        "result_backend": stack.redis_url(RESULTS),
        "fernet_key": secrets.fernet_key,
        "jwt_secret": secrets.jwt_secret,
        "api_secret_key": secrets.api_secret_key,
    }


def _no_proxy(variable: str) -> str:
    return ",".join(filter(None, [os.environ.get(variable, ""), "127.0.0.1", "localhost"]))
