"""What deferred tasks wait for, in the triggerer."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from darkroom.errors import StoreUnavailable
from darkroom.live.control import Control
from darkroom.settings import settings

log = logging.getLogger(__name__)
_POLL_S = 2.0
_TURN_POLL_S = 1.0
"""Lanes may wait for the next shard meanwhile."""
_LOOK_S = 10.0
"""How often somebody looks into a store whether something is there: a request each time."""
_LATE_S = 60.0
"""So long after its time-out a run that fetches pages, and gives up by itself, is waited for."""
_HANDED_OUT = [
    "queued", "running", "restarting", "success", "failed", "skipped", "upstream_failed", "removed",
    "up_for_retry", "up_for_reschedule",
]  # fmt: skip
"""States of a task instance that has been given to a worker at least once, or never will be.

Not `deferred`: a chunk of a paused batch has its turn still before it, and a shard that begins while it is
paused only fills the triggerer.
"""
_HAD = [state for state in _HANDED_OUT if state != "up_for_reschedule"]
"""Without those that a server that is not ready has put back: they wait as before."""


class HandedOut(BaseTrigger):
    """Fires when a shard leaves room for the next one.

    It has handed out its chunks to its first stage, or ended; and in the runs that are open no more than
    `room` chunks have not come to the last stage: else, where that is slowest, run after run would open.
    """

    def __init__(
        self, dag_id: str, run_id: str, first: str, last: str, room: int, chunks: dict[str, int]
    ) -> None:
        """Wait for `run_id`; `first` and `last` are task ids, `chunks` says how many each open run has."""
        super().__init__()
        self.dag_id, self.run_id, self.first, self.last, self.room, self.chunks = (
            dag_id, run_id, first, last, room, chunks,
        )  # fmt: skip

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes it again."""
        names = ("dag_id", "run_id", "first", "last", "room", "chunks")
        fields = {name: getattr(self, name) for name in names}
        return f"{type(self).__module__}.{type(self).__qualname__}", fields

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look now and then."""
        while not (await self._out() and await self._waiting() <= self.room):
            await asyncio.sleep(_TURN_POLL_S)
        yield TriggerEvent(True)

    async def _out(self) -> bool:
        if await self._ended(self.run_id):
            return True
        return await self._count(self.first, [self.run_id], _HANDED_OUT) >= self.chunks[self.run_id]

    async def _waiting(self) -> int:
        """Chunks that have not come to a worker of the last stage, or were put back by one."""
        if self.first == self.last:
            return 0
        runs = [run_id for run_id in self.chunks if not await self._ended(run_id)]
        out = await self._count(self.last, runs, _HAD) if runs else 0
        return sum(self.chunks[run_id] for run_id in runs) - out

    async def _ended(self, run_id: str) -> bool:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        count = sync_to_async(RuntimeTaskInstance.get_dr_count)
        return bool(await count(dag_id=self.dag_id, run_ids=[run_id], states=["success", "failed"]))

    async def _count(self, task_id: str, run_ids: list[str], states: list[str]) -> int:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        count = sync_to_async(RuntimeTaskInstance.get_ti_count)
        of = {"dag_id": self.dag_id, "run_ids": run_ids, "task_ids": [task_id]}
        return int(await count(**of, states=states))


class Resumed(BaseTrigger):
    """Fires when a batch is no longer paused."""

    def __init__(self, batch_id: str) -> None:
        super().__init__()
        self.batch_id = batch_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes it again."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"batch_id": self.batch_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look now and then."""
        control = Control(settings().redis_url.get_secret_value())
        while await sync_to_async(control.state)(self.batch_id) == "paused":
            await asyncio.sleep(_POLL_S)
        yield TriggerEvent(True)


class PagesEnded(BaseTrigger):
    """Fires when the runs that fetch pages have ended, each started by the one before it.

    Also when a page is neither there nor given up long after its time: what is there may compute for long.
    """

    def __init__(self, dag_id: str, run_id: str, batch_id: str, first: int, until: float) -> None:
        """Wait for `run_id`, which begins with page `first`, and what follows; `until` in epoch seconds."""
        super().__init__()
        self.dag_id, self.run_id, self.batch_id, self.first, self.until = (
            dag_id, run_id, batch_id, first, until,
        )  # fmt: skip

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes it again."""
        names = ("dag_id", "run_id", "batch_id", "first", "until")
        fields = {name: getattr(self, name) for name in names}
        return f"{type(self).__module__}.{type(self).__qualname__}", fields

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look now and then."""
        runs = [self.run_id]
        while True:
            # In this order: a run starts the next one before it ends.
            ended = await self._count(runs, states=["success", "failed"])
            while await self._count([following := page_run(self.run_id, self.first + len(runs))]):
                runs.append(following)
            late = time.time() > self.until + _LATE_S and not await sync_to_async(self._settled)()
            if ended == len(runs) or late:
                yield TriggerEvent({"first": self.first, "until": self.until, "late": ended != len(runs)})
                return
            await asyncio.sleep(_POLL_S)

    async def _count(self, runs: list[str], **of: Any) -> int:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        count = RuntimeTaskInstance.get_dr_count
        return int(await sync_to_async(count)(dag_id=self.dag_id, run_ids=runs, **of))

    def _settled(self) -> bool:
        from darkroom.orchestration.pages import pages_of
        from darkroom.store.batches import Batch
        from darkroom.store.storage import open_store

        try:
            return pages_of(Batch(open_store(settings().store_url), self.batch_id)).settled()
        except StoreUnavailable as error:
            log.warning("can't look for the pages of %s: %s", self.batch_id, error)
            return False


def page_run(run_id: str, page: int) -> str:
    """The run of another page of the same chain: their ids end with the page."""
    return f"{run_id.rpartition('page')[0]}page{page:05d}"


class PartitionThere(BaseTrigger):
    """Fires when the partition of a day is there, or when it is too late: the event says which."""

    def __init__(self, source: str, marker: str | None, until: float) -> None:
        """Wait for `source`, or its `marker`, `until` then (seconds since 1970)."""
        super().__init__()
        self.source, self.marker, self.until = source, marker, until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes it again."""
        fields = {"source": self.source, "marker": self.marker, "until": self.until}
        return f"{type(self).__module__}.{type(self).__qualname__}", fields

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look now and then; a store that does not answer is asked again."""
        from darkroom.plans.partition import is_there

        while True:
            last = time.time() >= self.until
            try:
                there = await sync_to_async(is_there)(self.source, self.marker, settings().input_roots)
            except StoreUnavailable as error:
                log.warning("can't look for %s: %s", self.marker or self.source, error)
                there = False
            if there or last:
                yield TriggerEvent(there)
                return
            await asyncio.sleep(min(_LOOK_S, max(0.0, self.until - time.time())))
