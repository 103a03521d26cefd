"""A way to Redis for what is live: what a person watches or a plan leans on, never what is true.

Losing it loses numbers for a while and no work; so a worker that can't reach it goes on.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, Self, TypeVar

import redis

log = logging.getLogger(__name__)
TIMEOUT_S = 2.0
_T = TypeVar("_T")


@cache
def _client(url: str) -> Any:
    """One for all of a process: each has connections of its own, which a task would have to open.

    It tells Redis nothing of itself: else each task would look for its version among all that is installed.
    """
    pool = redis.ConnectionPool.from_url(
        url, decode_responses=True, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S,
        driver_info=None,
    )  # fmt: skip
    return redis.Redis(connection_pool=pool)


class InRedis:
    """A session with Redis; an empty URL has none, keeps nothing and knows nothing."""

    def __init__(self, url: str) -> None:
        self._redis: Any = _client(url) if url else None
        self._pipe: Any = None

    @classmethod
    def into(cls, pipe: Any) -> Self:
        """One that only writes, into a pipeline that somebody else sends."""
        session = cls("")
        session._pipe = pipe
        return session

    def _ask(self, call: Callable[[Any], _T], otherwise: _T, what: str) -> _T:
        """What `call` says; `otherwise`, and a line in the log, where Redis does not answer."""
        if self._redis is None:
            return otherwise
        try:
            return call(self._redis)
        except redis.RedisError as error:
            log.warning("%s: Redis does not answer: %s", what, error)
            return otherwise

    def _write(self, fill: Callable[[Any], object], what: str) -> None:
        """Send the commands that `fill` puts into a pipeline, all by one call."""
        if self._pipe is not None:
            fill(self._pipe)
        elif self._redis is not None:
            pipe = self._redis.pipeline(transaction=False)
            fill(pipe)
            self._ask(lambda _: pipe.execute(), None, what)
