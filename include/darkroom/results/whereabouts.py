"""Where one item of a batch is, and what became of it: from its plan, its parts and what is live.

Reads the plan until the item is found, then only the parts of its chunks.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from darkroom.chunks.artifacts import ArtifactKey
from darkroom.errors import BadRequest
from darkroom.flows import FLOWS, STAGES
from darkroom.live.progress import Progress
from darkroom.plans.planning import shards
from darkroom.records import BatchRequest, PlannedItem, Reject, Result, Status
from darkroom.results.tries import RANKS
from darkroom.stages.base import Request
from darkroom.store.batches import Batch, Index

_READERS = 8


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage did with the item in one round."""

    stage: str
    status: str
    host: str | None = None
    model: str | None = None
    attempts: int = 0
    seconds: float = 0.0
    """Wall time of its requests."""
    known: float | None = None
    """When its chunk's part was written, in epoch seconds."""


@dataclass(frozen=True, slots=True)
class Round:
    """The item in one round of the batch."""

    round: int
    chunk: str
    shard: int
    """The run of `shard_flow` that has its chunk, by number; 0 also where one run has them all."""
    state: Status
    """waiting: its chunk has not begun; scheduled: put back, or between two stages; running; or final."""
    seed: int
    where: str
    """In which stage it is, or what ended it."""
    host: str | None
    image_uri: str | None
    attempts: int
    error: dict[str, str] | None
    verdict: dict[str, Any] | None
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """One item of a batch. The fields are the keys of `darkroom item --json`."""

    batch_id: str
    custom_id: str
    state: Status
    """Of its last round while that goes on, else of its best."""
    chunk: str
    shard: int
    host: str | None
    """Where it runs, or who finished it."""
    image_uri: str | None
    seed: int
    attempts: int
    """Tries spent on it, over all stages and rounds."""
    error: dict[str, str] | None
    item: dict[str, Any]
    """As it was planned."""
    rounds: list[Round] = field(default_factory=list)
    """In their order: the first, then respins and what was left over."""


def whereabouts(batch: Batch, custom_id: str, progress: Progress) -> Whereabouts:
    """Find an item.

    Raises:
        BadRequest: the batch has no such item; says so if it is among the rejects, and why.
        NotPlanned: the batch has no committed plan.
    """
    first = batch.planned()
    chunk_id = _find(batch, first, custom_id)
    if chunk_id is None:
        raise BadRequest(_unknown(batch, custom_id))
    ended = bool(progress.read(batch.batch_id).ended)
    request = batch.request()
    rounds = []
    index: Index | None = first
    while index is not None:
        chunk_id = chunk_id if index is first else _find(batch, index, custom_id)
        following = batch.index(index.round + 1)
        if chunk_id is not None:
            look = _Look(batch, request, index, chunk_id, custom_id, progress)
            rounds.append(look.round(over=ended or following is not None))
        index = following
    # An item that is on its way says more than what it was rejected for in the round before.
    told = rounds[-1]
    if told.state in RANKS:
        told = max(rounds, key=lambda one: (RANKS.get(one.state, 0), one.round))
    return Whereabouts(
        batch_id=batch.batch_id,
        custom_id=custom_id,
        state=told.state,
        chunk=told.chunk,
        shard=told.shard,
        host=told.host,
        image_uri=told.image_uri,
        seed=told.seed,
        attempts=sum(one.attempts for one in rounds),
        error=told.error,
        item=look.item.model_dump(mode="json", exclude_defaults=True),
        rounds=rounds,
    )


def _find(batch: Batch, index: Index, custom_id: str) -> str | None:
    """The chunk of a round that has the item."""

    def has(chunk_id: str) -> bool:
        return custom_id in batch.plan_table(chunk_id, ["custom_id"])["custom_id"].to_pylist()

    with ThreadPoolExecutor(_READERS, thread_name_prefix="item") as threads:
        for some in _pieces(index.chunk_ids, 4 * _READERS):
            for chunk_id, found in zip(some, threads.map(has, some), strict=True):
                if found:
                    return chunk_id
    return None


def _unknown(batch: Batch, custom_id: str) -> str:
    """Why there is no such item: it may be among the lines that were refused."""
    told = f"batch {batch.batch_id} has no item {custom_id!r}"
    for reject in _rejects(batch):
        if reject.custom_id == custom_id:
            where = f"{reject.source}, " if reject.source else ""
            field = f"{reject.field}: " if reject.field else ""
            return f"{told}: it was refused ({where}line {reject.line}: {field}{reject.reason})"
    return f"{told}, nor is it among the lines that were refused ({batch.store.uri(batch.rejects_path)})"


@dataclass(frozen=True)
class _Look:
    """At one item in one chunk of one round."""

    batch: Batch
    request: BatchRequest
    index: Index
    chunk_id: str
    custom_id: str
    progress: Progress

    @property
    def item(self) -> PlannedItem:
        return next(item for item in self.batch.plan_chunk(self.chunk_id) if item.custom_id == self.custom_id)

    def round(self, over: bool) -> Round:
        """What came of it in this round.

        Args:
            over: nobody works on this round any more, so what is not done stays undone.
        """
        item, steps = self.item, list[Step]()
        row: Result | None = None
        state, where, host = Status.WAITING, "its chunk has not begun", None
        for stage in FLOWS[self.index.flow].stages:
            part = self.batch.part(stage, self.chunk_id)
            if part is None:
                state, where, host = self._on_the_way(stage, began=bool(steps))
                break
            here = next((one for one in part if one.custom_id == self.custom_id), None)
            if here is None:
                state, where = Status.WAITING, f"left over by {stage}; the next round has it"
                break
            row = here
            steps.append(self._step(stage, row))
            state, where, host = row.status, stage, row.host
            if row.status is not Status.COMPLETED:
                break
        error = row.error.model_dump() if row and row.error else None
        if over and state not in RANKS:
            error = {"code": "undone", "message": f"nobody finished it in round {self.index.round}: {where}"}
            state = Status.FAILED
        most = self.batch.params().shard_chunks
        position = self.index.chunk_ids.index(self.chunk_id)
        runs = enumerate(shards(len(self.index.chunk_ids), most))
        return Round(
            round=self.index.round,
            chunk=self.chunk_id,
            shard=next(number for number, run in runs if position in run),
            state=state,
            seed=item.seed,
            where=where,
            host=host,
            image_uri=(row.image_uri if row else None) or self._early_picture(item),
            attempts=row.attempts if row else 0,
            error=error,
            verdict=row.verdict.model_dump() if row and row.verdict else None,
            steps=steps,
        )

    def _on_the_way(self, stage: str, began: bool) -> tuple[Status, str, str | None]:
        chunk = self.progress.chunk(self.batch.batch_id, stage, self.chunk_id)
        if chunk is None or chunk.state == "ended":
            return (
                (Status.SCHEDULED, f"its chunk waits for {stage}", None)
                if began
                else (Status.WAITING, f"its chunk waits for {stage}", None)
            )
        if chunk.state == "running":
            return Status.RUNNING, f"{stage} on {chunk.host}", chunk.host
        return Status.SCHEDULED, f"its chunk was put back: {chunk.reason or chunk.state}", None

    def _step(self, stage: str, row: Result) -> Step:
        told = row.told_by(stage)
        return Step(
            stage=stage,
            status=row.status.value,
            host=told.get("host"),
            model=told.get("model"),
            attempts=told.get("attempts", 0),
            seconds=told.get("seconds", 0.0),
            known=self.batch.store.stat(self.batch.part_path(stage, self.chunk_id)).modified_s,
        )

    def _early_picture(self, item: PlannedItem) -> str | None:
        """The picture of a chunk that has not ended: kept as soon as it was computed."""
        stage = STAGES[FLOWS[self.index.flow].stages[0]]
        if stage.takes != "prompt" or stage.gives != "image":
            return None
        own = item.options.get(stage.name, {})
        request = Request(
            custom_id=item.custom_id, prompt=item.prompt, image=b"", seed=item.seed,
            width=item.width, height=item.height,
            options={**self.request.options.get(stage.name, {}), **own},
        )  # fmt: skip
        path = ArtifactKey.of(stage, request).path
        return self.batch.store.uri(path) if self.batch.store.exists(path) else None


def _rejects(batch: Batch) -> Iterator[Reject]:
    """The refused lines, as they come."""
    rest = b""
    try:
        for piece in batch.store.stream(batch.rejects_path):
            *lines, rest = (rest + piece).split(b"\n")
            yield from (Reject.model_validate(json.loads(line)) for line in lines if line)
    except FileNotFoundError:
        return


def _pieces(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """`names` in pieces of `size`."""
    for start in range(0, len(names), size):
        yield names[start : start + size]
