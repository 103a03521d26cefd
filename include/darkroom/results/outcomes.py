"""What became of each planned item, over all stages and rounds: read only, a chunk at a time.

Everything derives from a snapshot of which files there are. Files are write-once, so the same snapshot
gives the same outcomes, whoever looks and whenever.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from darkroom.errors import NotPlanned
from darkroom.flows import FLOWS
from darkroom.plans.planning import seed_for
from darkroom.records import PlannedItem, Status
from darkroom.results.tries import ChunkTries, chunk_tries
from darkroom.store.ahead import ahead
from darkroom.store.batches import Batch, Index
from darkroom.store.result_table import Row, replaced

_ROWS_AHEAD = 32_768
_CHUNKS_AHEAD = 32

Try = tuple[ChunkTries, int]
"""One item in one round: its chunk there, and its position in it."""


@dataclass(frozen=True, slots=True)
class ChunkOutcomes:
    """The items of one chunk of the first round, over all rounds."""

    first: ChunkTries
    later: dict[int, list[Try]]
    """Of those that came again: position in the first round to the tries after it, in their order."""

    def tries(self, position: int) -> list[Try]:
        """One per round that had the item, in their order."""
        return [(self.first, position), *self.later.get(position, ())]

    def best(self, position: int) -> Try:
        """The best try wins, of equals the latest."""
        numbered = enumerate(self.tries(position))
        return max(numbered, key=lambda entry: (entry[1][0].rank(entry[1][1]), entry[0]))[1]

    def undone(self) -> int:
        """How many items no round has finished with."""
        return len(self.first.undone - self.later.keys()) + sum(
            place in tries.undone for tries, place in map(self.best, self.later)
        )

    def table(self) -> Any:
        """The final rows, in plan order: each of its best try, with attempts and seconds of all."""
        return replaced(self.first.table, {position: self._merged(position) for position in self.later})

    def _merged(self, position: int) -> Row:
        tries = self.tries(position)
        rows = [tried.row(place) for tried, place in tries]
        return {
            **rows[tries.index(self.best(position))],
            "attempts": sum(row["attempts"] for row in rows),
            "seconds": round(sum(row["seconds"] for row in rows), 4),
        }


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


def elapsed_s(batch: Batch, files: frozenset[str]) -> float:
    """Seconds from the plan's commit to the last part, by the store's clock; 0 before the first part.

    A plan that is made page by page begins with its first page's.
    """
    plans = batch.store.list_written(f"{batch.root}/plan")
    planned = min(when for path, when in plans if path.startswith(f"{batch.root}/plan/index"))
    parts = [when for path, when in batch.store.list_written(f"{batch.root}/parts") if path in files]
    return round(max(0.0, max(parts) - planned), 3) if parts else 0.0


def outcomes(
    batch: Batch, files: frozenset[str], columns: Sequence[str] | None = None
) -> Iterator[ChunkOutcomes]:
    """The outcomes of each chunk that the first round planned, in plan order; `columns` as `chunk_tries`.

    A round holds what the one before left over, in plan order. So all of them are read side by side, and
    only some chunks of each are in memory.

    Raises:
        NotPlanned: the batch has no committed plan, or a round holds what is not left over from the first.
    """
    later = [_items(batch, index, files, columns) for index in _rounds(batch, files)]
    heads = [next(tries, None) for tries in later]
    for first in _chunks(batch, batch.planned(), files, columns):
        found: dict[int, list[Try]] = {}
        places = {custom_id: place for place, custom_id in enumerate(first.ids)} if any(heads) else {}
        for number, tries in enumerate(later):
            while (head := heads[number]) is not None:
                place = places.get(head[0].ids[head[1]])
                if place is None:
                    break
                found.setdefault(place, []).append(head)
                heads[number] = next(tries, None)
        yield ChunkOutcomes(first, found)
    for number, head in enumerate(heads, start=1):
        if head is not None:
            custom_id = head[0].ids[head[1]]
            raise NotPlanned(f"round {number} holds {custom_id} out of plan order; it was tampered with")


def leftovers(batch: Batch, *, undone: bool = True, failed: bool = False) -> Iterator[PlannedItem]:
    """The items of the next round, in plan order: what C rejected, with a new seed, and what is undone.

    Whether there are any is known by the first. What takes a picture and is rejected is not tried again:
    `enhance` makes the same of the same.

    Args:
        batch: planned.
        undone: False leaves out what is undone: it came again often enough.
        failed: True adds what failed for good, to be tried once more as it was.

    Raises:
        NotPlanned: the batch has no committed plan.
    """
    request = batch.request()
    respins = request.respins if FLOWS[request.flow].takes == "prompt" else 0
    for chunk in outcomes(batch, snapshot(batch), columns=("custom_id", "status")):
        for position, status in enumerate(chunk.first.statuses):
            if status == Status.COMPLETED:  # no later try is better
                continue
            best, place = chunk.best(position)
            last, last_place = chunk.tries(position)[-1]
            final = best.statuses[place]
            if final == Status.COMPLETED or last.statuses[last_place] == Status.TIMED_OUT:
                continue  # what has expired stays so
            if last_place in last.undone:
                if undone:
                    yield last.item(last_place)
            elif final == Status.FAILED:
                if failed:
                    yield last.item(last_place)
            elif final == Status.REJECTED:
                item = last.item(last_place)
                if item.respin < respins:
                    seed = seed_for(batch.batch_id, item.custom_id, item.respin + 1)
                    yield item.model_copy(update={"seed": seed, "respin": item.respin + 1})


def _rounds(batch: Batch, files: frozenset[str]) -> Iterator[Index]:
    """The committed rounds after the first."""
    number = 1
    while batch.index_path(number) in files:
        yield batch.planned(number)
        number += 1


def _chunks(
    batch: Batch, index: Index, files: frozenset[str], columns: Sequence[str] | None
) -> Iterator[ChunkTries]:
    window = max(2, min(_CHUNKS_AHEAD, _ROWS_AHEAD // max([1, *index.sizes])))
    return ahead(
        lambda chunk_id: chunk_tries(batch, index.flow, chunk_id, files, columns), index.chunk_ids, window
    )


def _items(batch: Batch, index: Index, files: frozenset[str], columns: Sequence[str] | None) -> Iterator[Try]:
    for tries in _chunks(batch, index, files, columns):
        for position in range(len(tries.ids)):
            yield tries, position
