"""Which model servers are there, all over the fleet: each tells it of itself, in Redis.

Key `darkroom:server:{host}:{name}` = JSON of a `ServerStatus`, gone by itself when nobody renews it.
Losing Redis loses it for seconds: everybody tells again.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import redis
from pydantic import ValidationError

from darkroom.errors import DarkroomError
from darkroom.serving.status import ServerStatus, State

log = logging.getLogger(__name__)
KEEP_S = 30
"""A server that has told nothing for so long does not count."""
_PREFIX = "darkroom:server:"


class FleetUnknown(DarkroomError):
    """Redis does not say which servers there are."""

    code = "fleet_unknown"
    retryable = True


class Fleet:
    """The servers of the fleet; an empty URL knows of none and tells nobody."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.Redis.from_url(url, decode_responses=True, socket_timeout=2) if url else None

    def tell(self, host: str, status: ServerStatus) -> None:
        """Say what a server is doing; a Redis that is down stops no server."""
        self._try(lambda: self._redis.set(_key(host, status), status.model_dump_json(), ex=KEEP_S))

    def forget(self, host: str, status: ServerStatus) -> None:
        """Say that a server has gone for good."""
        self._try(lambda: self._redis.delete(_key(host, status)))

    def servers(self) -> list[ServerStatus]:
        """Every server that told something lately.

        Raises:
            FleetUnknown: Redis does not answer.
        """
        if self._redis is None:
            return []
        try:
            keys = list(self._redis.scan_iter(f"{_PREFIX}*", count=1000))
            told = self._redis.mget(keys) if keys else []
        except redis.RedisError as error:
            raise FleetUnknown(str(error)) from error
        found = zip(keys, told, strict=True)
        return [status for key, text in found if text and (status := _read(key, text))]

    def waiting(self, stages: Iterable[str]) -> dict[str, str]:
        """Of `stages`, those that no server takes chunks of now, and why: what needs them waits.

        Raises:
            FleetUnknown: Redis does not answer.
        """
        return waiting(self.servers(), stages)

    def _try(self, call: Any) -> None:
        if self._redis is None:
            return
        try:
            call()
        except redis.RedisError as error:
            log.warning("the fleet was not told: %s", error)


def waiting(servers: Sequence[ServerStatus], stages: Iterable[str]) -> dict[str, str]:
    """Of `stages`, those that none of `servers` takes chunks of now, and why."""
    of = {stage: [server for server in servers if server.stage == stage] for stage in stages}
    return {
        stage: "; ".join(f"{s.host}: {s.why_not_ready()}" for s in there) or "there is no server of it"
        for stage, there in of.items()
        if not any(s.state is State.READY for s in there)
    }


def _key(host: str, status: ServerStatus) -> str:
    return f"{_PREFIX}{host}:{status.name}"


def _read(key: str, text: str) -> ServerStatus | None:
    host = key.removeprefix(_PREFIX).rpartition(":")[0]
    try:
        return ServerStatus.model_validate_json(text).model_copy(update={"host": host})
    except ValidationError:
        return None  # of another version: its own pools can't use it either
