"""Which model servers are there, all over the fleet: each tells it of itself, in Redis.

Key `darkroom:server:{host}:{name}` = JSON of a `ServerStatus`, gone by itself when nobody renews it.
Key `darkroom:fence-wish:{name}@{host}` = JSON of a `FenceWish`, taken by the supervisor, or gone by itself.
Losing Redis loses it for seconds: everybody tells again.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import redis
from pydantic import BaseModel, ConfigDict, ValidationError

from darkroom.errors import DarkroomError
from darkroom.live.connection import InRedis
from darkroom.serving.status import ServerStatus, State

KEEP_S = 30
"""A server that has told nothing for so long does not count."""
_PREFIX = "darkroom:server:"
_WISH_PREFIX = "darkroom:fence-wish:"


class FleetUnknown(DarkroomError):
    """Redis does not say which servers there are."""

    code = "fleet_unknown"
    retryable = True


class FenceWish(BaseModel):
    """What a person asks of a server from afar."""

    model_config = ConfigDict(frozen=True)
    fenced: bool
    reason: str = ""
    """Of the fence, and who asked."""


class Fleet(InRedis):
    """The servers of the fleet; an empty URL knows of none and tells nobody."""

    def tell(self, host: str, status: ServerStatus) -> FenceWish | None:
        """Say what a server is doing, and hear what is asked of it; a Redis that is down stops no server."""

        def told(server: Any) -> Any:
            pipe = server.pipeline(transaction=False)
            pipe.set(_key(host, status), status.model_dump_json(), ex=KEEP_S)
            pipe.getdel(f"{_WISH_PREFIX}{status.name}@{host}")
            return pipe.execute()[1]

        return _wish(self._ask(told, None, "the fleet"))

    def ask(self, server: str, wish: FenceWish) -> None:
        """Ask that a server be fenced or taken back, wherever it is; it is heard when that tells next.

        Args:
            server: its name all over the fleet: `generate-1@box`.
            wish: forgotten when nobody hears it soon, so that it surprises nobody later.

        Raises:
            FleetUnknown: Redis does not answer.
        """
        if self._redis is None:
            raise FleetUnknown("DARKROOM_REDIS_URL is empty")
        try:
            self._redis.set(f"{_WISH_PREFIX}{server}", wish.model_dump_json(), ex=KEEP_S)
        except redis.RedisError as error:
            raise FleetUnknown(str(error)) from error

    def forget(self, host: str, status: ServerStatus) -> None:
        """Say that a server has gone for good."""
        self._ask(lambda server: server.delete(_key(host, status)), None, "the fleet")

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


def _wish(text: str | None) -> FenceWish | None:
    try:
        return FenceWish.model_validate_json(text) if text else None
    except ValidationError:  # of another version
        return None


def _read(key: str, text: str) -> ServerStatus | None:
    host = key.removeprefix(_PREFIX).rpartition(":")[0]
    try:
        return ServerStatus.model_validate_json(text).model_copy(update={"host": host})
    except ValidationError:
        return None  # of another version: its own pools can't use it either
