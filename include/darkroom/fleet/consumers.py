"""Which queues the fleet's Celery workers take from: those of a server that takes no chunks stand aside.

A worker is told over Celery's remote control. What it does is asked for, not remembered: a worker that
restarts, or loses the broker, takes from its queue again, or from none.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis

from darkroom.errors import DarkroomError

ASK_EVERY_S = 30.0
"""While nothing changes. The gate keeps chunks off a server in the meantime."""
_ANSWER_S = 2.0
"""How long all workers together are waited for."""

log = logging.getLogger(__name__)


class WorkersUnknown(DarkroomError):
    """The broker does not answer, so no worker can be asked or told."""

    code = "workers_unknown"
    retryable = True


class Consumers:
    """The workers of one broker."""

    def __init__(self, broker_url: str) -> None:
        self._url = broker_url
        self._wanted: dict[tuple[str, str], bool] = {}
        self._ask_at = 0.0
        self._app: Any = None

    def follow(self, wanted: Mapping[tuple[str, str], bool], now: float) -> None:
        """Have each worker take from a queue, or not; `now` in monotonic seconds.

        Asks only when `wanted` has changed, until all are as wanted, and every `ASK_EVERY_S`. A worker that
        does not answer is not there, and is asked again then.

        Args:
            wanted: by worker and queue.
            now: monotonic seconds.

        Raises:
            WorkersUnknown: the broker does not answer.
        """
        if not wanted or (wanted == self._wanted and now < self._ask_at):
            return
        told = False
        with self._control() as control:
            for worker, queues in _ask(control, sorted({worker for worker, _ in wanted})).items():
                for queue, takes in [(q, takes) for (w, q), takes in wanted.items() if w == worker]:
                    if takes is not (queue in queues):
                        told = True
                        log.info("%s %s %s", worker, "takes from" if takes else "takes nothing from", queue)
                        say = control.add_consumer if takes else control.cancel_consumer
                        say(queue, destination=[worker])
        self._wanted = dict(wanted)
        self._ask_at = now if told else now + ASK_EVERY_S

    @contextmanager
    def _control(self) -> Iterator[Any]:
        from kombu.exceptions import OperationalError  # noqa: PLC0415  (with Celery, half a second)

        app = self._celery()
        errors = (OSError, redis.RedisError, OperationalError, *app.connection_for_read().connection_errors)
        try:
            # First without Celery, which would try again and again.
            with redis.Redis.from_url(self._url, socket_timeout=2, socket_connect_timeout=2) as broker:
                broker.ping()
            yield app.control
        except errors as error:
            self._wanted = {}
            raise WorkersUnknown(f"the broker does not answer: {error}") from error

    def _celery(self) -> Any:
        if self._app is None:
            from celery import Celery  # noqa: PLC0415

            self._app = Celery(broker=self._url, set_as_current=False)
            self._app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 2}
        return self._app


def _ask(control: Any, workers: list[str]) -> dict[str, set[str]]:
    """The queues that each of these workers takes from, of those that answer."""
    answers = control.inspect(destination=workers, timeout=_ANSWER_S, limit=len(workers)).active_queues()
    return {worker: {queue["name"] for queue in queues} for worker, queues in (answers or {}).items()}
