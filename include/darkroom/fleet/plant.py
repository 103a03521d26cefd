"""Which plant this is: one control plane, one store, one version of the records, and every host of the three.

The store holds a marker, written once. The control plane says in Redis which marker is its own. A host that
sees another marker, or none, would put its pictures where nobody looks for them.
"""

import json
from typing import Any
from uuid import uuid4

import redis

from darkroom.errors import DarkroomError
from darkroom.records import SCHEMA_VERSION
from darkroom.store.storage import Store

MARKER = "plant.json"
"""In the store."""
_KEY = "darkroom:plant"
"""In Redis: JSON with `plant_id` and `schema_version`."""


class CannotJoin(DarkroomError):
    """This host can't work for that plant; the message says what to change."""

    code = "cannot_join"
    fault = "host"


def mark(store: Store) -> str:
    """Mark the store as a plant's, unless it is marked; the plant's id.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    store.create_json(MARKER, {"plant_id": uuid4().hex})
    return str(store.read_json(MARKER)["plant_id"])


def announce(plant_id: str, redis_url: str) -> None:
    """Say in Redis which plant this is.

    Raises:
        CannotJoin: Redis does not answer.
    """
    told = json.dumps({"plant_id": plant_id, "schema_version": SCHEMA_VERSION})
    _ask(redis_url, lambda server: server.set(_KEY, told))


def check_that_it_is_ours(store: Store, redis_url: str) -> None:
    """Return if this host and the control plane share store and record version.

    Raises:
        CannotJoin: they don't, or the control plane is not there.
        StoreUnavailable: the store does not answer.
    """
    told = _ask(redis_url, lambda server: server.get(_KEY))
    if told is None:
        raise CannotJoin(
            "no control plane has announced itself in Redis: is the plant up (`darkroom status`)?"
        )
    plant = json.loads(told)
    if plant["schema_version"] != SCHEMA_VERSION:
        raise CannotJoin(
            f"the control plane writes records of version {plant['schema_version']}, this host of version "
            f"{SCHEMA_VERSION}: install the same Darkroom on both"
        )
    try:
        found = store.read_json(MARKER)["plant_id"]
    except FileNotFoundError:
        found = None
    if found != plant["plant_id"]:
        seen = "no plant's marker" if found is None else f"the marker of another plant ({found})"
        raise CannotJoin(
            f"{store.url} holds {seen}, not that of the control plane ({plant['plant_id']}). All hosts must "
            "share one store: set DARKROOM_STORE to the control plane's, such as s3://bucket/prefix or a "
            "folder that is mounted on all of them"
        )


def _ask(redis_url: str, question: Any) -> Any:
    try:
        with redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=5) as server:
            return question(server)
    except (redis.RedisError, ValueError) as error:
        raise CannotJoin(f"Redis (DARKROOM_REDIS_URL) does not answer: {error}") from error
