"""Run one chunk through one stage: resume, batch, retry, set aside, report.

The images in the store are the memory of a chunk: whatever was computed by an earlier try, on whatever
host, is found by its key and not computed again. The part is written once, at the end.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

from darkroom.chunks.attempts import Attempts, HungItsServer
from darkroom.chunks.doubt import MISHAPS, doubt
from darkroom.chunks.item import ItemRun
from darkroom.chunks.report import Report, count
from darkroom.chunks.turns import Turn
from darkroom.errors import ChunkStopped, HostSuspect, NotPlanned, PictureGone, StoreUnavailable
from darkroom.flows import FLOWS, Stage
from darkroom.live.measures import Measures
from darkroom.live.progress import ChunkNow, ChunkState, Progress
from darkroom.live.snapshot import HostNow
from darkroom.records import BatchRequest, PlannedItem, Result, Status
from darkroom.serving.client import StageClient
from darkroom.store.batches import Batch

log = logging.getLogger(__name__)
_TELL_EVERY_S = 1.0


@dataclass(frozen=True)
class Lane:
    """What one worker slot works with."""

    client: StageClient
    host: str
    progress: Progress
    input_roots: Sequence[str]
    grace_s: float
    """How long to wait for a server that is restarting before the chunk gives way."""
    alone_lock: Path | None = None
    """Held while an item is tried alone: what else this host's lanes send to the server must wait."""
    ahead_lock: Path | None = None
    """Held by the one of a server's lanes that sends a batch ahead; see `Turn`."""
    should_stop: Callable[[], ChunkStopped | None] = lambda: None
    """Looked at between two batches: why to stop, or None."""
    measures: Measures = field(default_factory=lambda: Measures(""))
    doubts: bool = False
    """Whether a chunk whose every item fails is the host's fault rather than theirs; another shall try it."""


def run_chunk(
    batch: Batch, stage: Stage, chunk_id: str, lane: Lane, out_of_time: Callable[[float], bool]
) -> Report:
    """Take every item of the chunk through the stage and write its part.

    Returns at once when the part exists. Stops at an item boundary when `out_of_time` says so of the seconds
    since it began; its part then lists what is done, and `leftovers` cuts the rest again.

    Raises:
        ChunkStopped: the lane was asked to stop; no part is written.
        HostSuspect, BatchSuspect: the lane has doubts, and everything fails here.
        ServerGone, ServerTimeout: the server did not come back within the lane's grace.
        StoreUnavailable: the store refuses; what it holds already is kept.
    """
    begun = time.monotonic()
    run = _ChunkRun(batch, stage, chunk_id, lane, lambda: out_of_time(time.monotonic() - begun))
    try:
        part = batch.part(stage.name, chunk_id)
        if part is None:
            results = run.results()
            if batch.save_part(stage.name, chunk_id, results):
                part = results
                lane.measures.ended(stage.name, part, time.monotonic() - begun)
            else:  # somebody else was first, and the first writer wins
                part = batch.part(stage.name, chunk_id) or results
    except StoreUnavailable as error:  # told, as it is put back and nobody works on it
        run.tell([], "stopped", str(error))
        raise
    run.tell(part, "ended")
    return Report.of(
        len(run.items), part, stage.name, batch.store.uri(batch.part_path(stage.name, chunk_id)),
        run.out_of_time, time.monotonic() - begun,
    )  # fmt: skip


_Tries = list[tuple[PlannedItem, "Future[Result | None]"]]


class _ChunkRun:
    """One try of one chunk."""

    def __init__(
        self, batch: Batch, stage: Stage, chunk_id: str, lane: Lane, out_of_time: Callable[[], bool]
    ) -> None:
        self.batch, self.stage, self.chunk_id, self.lane = batch, stage, chunk_id, lane
        self.request: BatchRequest = batch.request()
        self.items: list[PlannedItem] = batch.plan_chunk(chunk_id)
        self.item_run = ItemRun(
            batch.store, self.request, stage, lane.host, lane.input_roots,
            Attempts(lane.client, lane.grace_s, lane.alone_lock),
        )  # fmt: skip
        self.begun = self.told = time.time()
        self.out_of_time, self._look_at_time = False, out_of_time
        self.latest: deque[Result] = deque(maxlen=max(stage.batch_size, MISHAPS))
        """What was tried here, in a row."""

    def results(self) -> list[Result]:
        """One result per item that got an outcome in time, in plan order."""
        self.tell([], "running")
        before = self._previous()
        outcomes: dict[str, Result] = {
            cid: row for cid, row in before.items() if row.status is not Status.COMPLETED
        }
        todo = [
            item
            for item in self.items
            if item.custom_id not in outcomes and (not self._upstream or item.custom_id in before)
        ]
        flying: deque[_Tries] = deque()
        with (
            Turn(self.lane.ahead_lock) as turn,
            ThreadPoolExecutor(2 * self.stage.batch_size, thread_name_prefix="item") as threads,
        ):
            for group in _groups(todo, self.stage.batch_size):
                if stop := self.lane.should_stop():
                    self.tell(list(outcomes.values()), stop.state, str(stop))
                    raise stop
                if self._spent():
                    log.warning("time budget spent: %d of %d items", len(outcomes), len(self.items))
                    break
                flying.append([(item, self._submit(threads, item, before)) for item in group])
                while len(flying) > int(turn.mine()):
                    self._land(flying, outcomes, before)
            while flying:
                self._land(flying, outcomes, before)
        if self.out_of_time:  # where everything crawls, nobody knows which item hangs
            outcomes = {cid: row for cid, row in outcomes.items() if not _hung(row)}
        else:
            self._doubt(outcomes, ended=True)
        return [outcomes[item.custom_id] for item in self.items if item.custom_id in outcomes]

    def _submit(
        self, threads: ThreadPoolExecutor, item: PlannedItem, before: dict[str, Result]
    ) -> "Future[Result | None]":
        # In a copy of this context, so that what a thread logs says of which chunk it is.
        return threads.submit(copy_context().run, self.item_run.run, item, before.get(item.custom_id))

    def _spent(self) -> bool:
        """Whether the time budget is spent; once it is, it stays so."""
        self.out_of_time = self.out_of_time or self._look_at_time()
        return self.out_of_time

    def tell(self, results: Sequence[Result], state: ChunkState, reason: str = "") -> None:
        """Say how far this chunk is."""
        counts = count(results)
        mine = [row.told_by(self.stage.name) for row in results]
        now = ChunkNow(
            items=len(self.items), done=counts.done, rejected=counts.rejected, failed=counts.failed,
            host=self.lane.host, state=state, reason=reason,
            busy_s=round(sum(told.get("busy_s", 0.0) for told in mine), 3),
            reused=sum(told.get("attempts") == 0 for told in mine), begun=self.begun, updated=time.time(),
        )  # fmt: skip
        self.lane.progress.report(self.batch.batch_id, self.stage.name, self.chunk_id, now)
        if pictures := [row for row in results[-1:] if row.image_uri]:
            self._show(pictures[0])

    def _show(self, row: Result) -> None:
        """One picture now and then, for those who want to look rather than read."""
        self.lane.measures.picture(
            batch_id=self.batch.batch_id, custom_id=row.custom_id, stage=self.stage.name,
            status=row.status.value, path=self.batch.store.path(str(row.image_uri)), at=time.time(),
        )  # fmt: skip

    @property
    def _upstream(self) -> str | None:
        """The stage before this one in the flow."""
        stages = FLOWS[self.request.flow].stages
        position = stages.index(self.stage.name)
        return stages[position - 1] if position else None

    def _previous(self) -> dict[str, Result]:
        if self._upstream is None:
            return {}
        part = self.batch.part(self._upstream, self.chunk_id)
        if part is None:
            raise NotPlanned(f"chunk {self.chunk_id} has no part of stage {self._upstream}")
        return {row.custom_id: row for row in part}

    def _land(self, flying: deque[_Tries], outcomes: dict[str, Result], before: dict[str, Result]) -> None:
        """Wait for the oldest batch; items whose server died under them are run again, one at a time.

        Alone, the item that kills its server is known by it, and its neighbours pass.
        """
        again: list[PlannedItem] = []
        tries = flying.popleft()
        landed = [item for item, _ in tries]
        for item, future in tries:
            try:
                result = future.result()
            except PictureGone as gone:  # left over, as its picture has to be made again first
                log.warning("%s: %s", item.custom_id, gone)
                continue
            if result is None:
                again.append(item)
            else:
                outcomes[item.custom_id] = result
        if again:  # alone: also without the batch that was sent ahead
            wait(future for tries in flying for _, future in tries)
        for item in again:
            if self._spent():
                break
            result = self.item_run.run(item, before.get(item.custom_id), alone=True)
            assert result is not None  # noqa: S101 - alone, an item always gets an outcome or raises
            outcomes[item.custom_id] = result
        rows = [outcomes[item.custom_id] for item in landed if item.custom_id in outcomes]
        self.lane.measures.computed(self.stage, self.batch.batch_id, self.lane.host, rows)
        self.latest.extend(row for row in rows if row.told_by(self.stage.name))
        self._doubt(outcomes)
        if time.time() - self.told > _TELL_EVERY_S:
            self.told = time.time()
            self.tell(list(outcomes.values()), "running")

    def _doubt(self, outcomes: dict[str, Result], ended: bool = False) -> None:
        """Rather doubt the host than its items, while others may still try them."""
        if not self.lane.doubts:
            return
        try:
            doubt(self.latest, self.lane.host, self._others, ended=ended)
        except HostSuspect as error:  # told, so that the other hosts know how it went here
            self.tell(list(outcomes.values()), "stopped", str(error))
            raise

    def _others(self) -> list[HostNow]:
        """How the other hosts do with this stage of the batch."""
        hosts = self.lane.progress.read(self.batch.batch_id).hosts
        return [other for other in hosts if other.stage == self.stage.name and other.host != self.lane.host]


def _hung(row: Result) -> bool:
    return row.error is not None and row.error.code == HungItsServer.code


def _groups(items: list[PlannedItem], size: int) -> Iterator[list[PlannedItem]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
