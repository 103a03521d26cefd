"""What a person has asked of a running batch: pause, cancel. Chunks look between two batches of items.

Key `darkroom:control:{batch_id}` = `paused` or `cancelled`. Losing Redis loses the wish, and the batch
goes on: nothing that was asked to wait is lost.
"""

from collections.abc import Sequence
from typing import Any, Literal

import redis

from darkroom.errors import BadRequest, DarkroomError
from darkroom.live.connection import InRedis

Wish = Literal["", "paused", "cancelled"]
KEEP_S = 90 * 24 * 3600
PREFIX = "darkroom:control:"


class ControlUnknown(DarkroomError):
    """Redis does not answer, so nobody would hear what was asked."""

    code = "control_unknown"
    retryable = True


class Control(InRedis):
    """The wishes for all batches; with an empty URL there are none."""

    def pause(self, batch_id: str) -> None:
        """Have the batch's chunks stop at the next item boundary and be put back until it is resumed.

        Raises:
            BadRequest: it is cancelled.
            ControlUnknown: Redis does not answer.
        """
        self._refuse_cancelled(batch_id)
        self._set(batch_id, "paused")

    def resume(self, batch_id: str) -> None:
        """Let a paused batch go on; one that is not paused is left as it is.

        Raises:
            BadRequest: it is cancelled.
            ControlUnknown: Redis does not answer.
        """
        self._refuse_cancelled(batch_id)
        self.clear(batch_id)

    def cancel(self, batch_id: str) -> None:
        """Have the batch's chunks stop at the next item boundary for good.

        Raises:
            ControlUnknown: Redis does not answer.
        """
        self._set(batch_id, "cancelled")

    def clear(self, batch_id: str) -> None:
        """Forget what was asked: the batch is to run again.

        Raises:
            ControlUnknown: Redis does not answer.
        """
        try:
            self._server.delete(_key(batch_id))
        except redis.RedisError as error:
            raise ControlUnknown(str(error)) from error

    def state(self, batch_id: str) -> Wish:
        """What was asked; nothing where Redis does not answer: a worker then goes on."""
        return _wish(self._ask(lambda server: server.get(_key(batch_id)), None, f"control of {batch_id}"))

    def states(self, batch_ids: Sequence[str]) -> dict[str, Wish]:
        """As `state`, of many batches by one call."""
        if not batch_ids:
            return {}
        keys, nothing = [_key(batch_id) for batch_id in batch_ids], [""] * len(batch_ids)
        told = self._ask(lambda server: server.mget(keys), nothing, "control")
        return {batch_id: _wish(wish) for batch_id, wish in zip(batch_ids, told, strict=True)}

    def _refuse_cancelled(self, batch_id: str) -> None:
        if self.state(batch_id) == "cancelled":
            raise BadRequest(f"batch {batch_id} is cancelled; darkroom retry {batch_id} starts it again")

    def _set(self, batch_id: str, wish: Wish) -> None:
        try:
            self._server.set(_key(batch_id), wish, ex=KEEP_S)
        except redis.RedisError as error:
            raise ControlUnknown(str(error)) from error

    @property
    def _server(self) -> Any:
        if self._redis is None:
            raise ControlUnknown("DARKROOM_REDIS_URL is empty, so nobody would hear it")
        return self._redis


def _wish(told: str | None) -> Wish:
    if told == "paused":
        return "paused"
    return "cancelled" if told == "cancelled" else ""


def _key(batch_id: str) -> str:
    return f"{PREFIX}{batch_id}"
