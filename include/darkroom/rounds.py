"""The rounds of a batch after the first: what C rejected, what is undone, and asked to, what failed."""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from darkroom.batches import Batch, Index
from darkroom.errors import NotPlanned
from darkroom.intake import save_chunks
from darkroom.plan_table import table_bytes
from darkroom.records import PlannedItem
from darkroom.tables import read_table


def plan_round(batch: Batch, left: Iterable[PlannedItem], asked_by: str) -> Index:
    """Cut what is left into the next round; the same asker gets the same round again.

    The round as a whole is fixed before it is cut, so a try that was killed in between is finished the same.

    Args:
        batch: planned.
        left: what its manifest lacks.
        asked_by: id of the run that asks.
    """
    number = 1
    while (index := batch.index(number)) is None or index.asked_by != asked_by:
        if index is None:  # if somebody else is quicker, the round is theirs, and ours the next
            _plan(batch, number, left, asked_by)
        else:
            number += 1
    return index


def _plan(batch: Batch, number: int, left: Iterable[PlannedItem], asked_by: str) -> None:
    batch.save_plan_chunk(f"r{number}", left)
    items = read_table(batch.store.read(batch.plan_chunk_path(f"r{number}")))

    def cut(sizes: list[int]) -> Iterator[bytes]:
        begins = accumulate(sizes, initial=0)
        return (table_bytes(items.slice(begin, size)) for begin, size in zip(begins, sizes, strict=False))

    index = save_chunks(batch, number, batch.params(), cut, items.num_rows, asked_by=asked_by)
    if index is None:
        raise NotPlanned(f"the chunks of round {number} do not hold its items; it was tampered with")
    batch.save_index(index)
