"""What became of each planned item, over all stages and rounds: parts joined with plans, read only.

Everything derives from a snapshot of which files there are. Files are write-once, so the same snapshot
gives the same outcomes, whoever looks and whenever.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from darkroom.batches import Batch, Index
from darkroom.flows import FLOWS
from darkroom.planning import seed_for
from darkroom.records import ErrorInfo, PlannedItem, Result, Status

UNDONE = "undone"
"""The error code of an item that no stage has finished with, nor set aside."""
LAST_ROUND_FOR_UNDONE = 2
"""What is undone is cut again into rounds up to this one, so that a hopeless item ends."""
_RANKS = {Status.COMPLETED: 3, Status.REJECTED: 2, Status.FAILED: 1, Status.TIMED_OUT: 1}


@dataclass(frozen=True, slots=True)
class Try:
    """One item in one round."""

    item: PlannedItem
    row: Result
    undone: bool

    @property
    def rank(self) -> int:
        """The higher wins over tries of the same item."""
        return 0 if self.undone else _RANKS[self.row.status]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One planned item over all rounds."""

    row: Result
    """The final one: of its best try, with attempts and seconds of all."""
    tries: Sequence[Try]
    """One per round that had it, in their order."""
    undone: bool


def snapshot(batch: Batch) -> frozenset[str]:
    """The paths of all files that outcomes derive from."""
    store, root = batch.store, batch.root
    files = {*store.list(f"{root}/plan"), *store.list(f"{root}/parts")}
    if store.exists(batch.rejects_path):
        files.add(batch.rejects_path)
    return frozenset(files)


def digest(files: frozenset[str]) -> str:
    """Hex SHA-256 of a snapshot."""
    return hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()


def outcomes(batch: Batch, files: frozenset[str]) -> Iterator[Outcome]:
    """One outcome per item that the first round planned, in plan order.

    The rounds after it are held in memory; the first, which is the whole batch, is not.

    Raises:
        NotPlanned: the batch has no committed plan.
    """
    later: dict[str, list[Try]] = {}
    for index in _rounds(batch, files):
        for attempt in _tries(batch, index, files):
            later.setdefault(attempt.item.custom_id, []).append(attempt)
    for attempt in _tries(batch, batch.planned(), files):
        yield _merge([attempt, *later.get(attempt.item.custom_id, [])])


def leftovers(batch: Batch) -> list[PlannedItem]:
    """The items of the next round, in plan order: what C rejected, with a new seed, and what is undone.

    What takes a picture and is rejected is not tried again: `enhance` makes the same of the same.

    Raises:
        NotPlanned: the batch has no committed plan.
    """
    request = batch.request()
    files = snapshot(batch)
    next_round = len(list(_rounds(batch, files))) + 1
    respins = request.respins if FLOWS[request.flow].takes == "prompt" else 0
    left = []
    for outcome in outcomes(batch, files):
        last = outcome.tries[-1]
        item = last.item
        if outcome.row.status is Status.COMPLETED:
            continue
        if last.undone:
            if next_round <= LAST_ROUND_FOR_UNDONE:
                left.append(item)
        elif outcome.row.status is Status.REJECTED and item.respin < respins:
            seed = seed_for(batch.batch_id, item.custom_id, item.respin + 1)
            left.append(item.model_copy(update={"seed": seed, "respin": item.respin + 1}))
    return left


def _rounds(batch: Batch, files: frozenset[str]) -> Iterator[Index]:
    """The committed rounds after the first."""
    number = 1
    while batch.index_path(number) in files:
        yield batch.planned(number)
        number += 1


def _tries(batch: Batch, index: Index, files: frozenset[str]) -> Iterator[Try]:
    stages = FLOWS[index.flow].stages
    for chunk_id in index.chunk_ids:
        parts: list[dict[str, Result]] = []
        for stage in stages:
            here = batch.part_path(stage, chunk_id) in files
            rows = (batch.part(stage, chunk_id) if here else None) or []
            parts.append({row.custom_id: row for row in rows})
        for item in batch.plan_chunk(chunk_id):
            yield _try(item, index.flow, chunk_id, parts)


def _try(item: PlannedItem, flow: str, chunk_id: str, parts: Sequence[dict[str, Result]]) -> Try:
    """The last stage's row; else that of an earlier stage that set the item aside; else it is undone."""
    stages = FLOWS[flow].stages
    unfinished = stages[0]
    row = Result(
        custom_id=item.custom_id, status=Status.FAILED, flow=flow, seed=item.seed, metadata=item.metadata
    )
    for position in reversed(range(len(stages))):
        reached = parts[position].get(item.custom_id)
        if reached is None:
            continue
        row = reached
        is_last = position == len(stages) - 1
        if row.status in _RANKS and (is_last or row.status is not Status.COMPLETED):
            return Try(item, row, undone=False)
        unfinished = stages[position if is_last else position + 1]
        break
    message = f"stage {unfinished} did not finish it (chunk {chunk_id}); see that task's log"
    error = ErrorInfo(code=UNDONE, message=message)
    return Try(item, row.model_copy(update={"status": Status.FAILED, "error": error}), undone=True)


def _merge(tries: list[Try]) -> Outcome:
    """The best try wins, of equals the latest; what all of them cost is added up."""
    best = max(enumerate(tries), key=lambda numbered: (numbered[1].rank, numbered[0]))[1]
    row = best.row.model_copy(
        update={
            "attempts": sum(attempt.row.attempts for attempt in tries),
            "seconds": round(sum(attempt.row.seconds for attempt in tries), 4),
        }
    )
    return Outcome(row, tries, best.undone)
