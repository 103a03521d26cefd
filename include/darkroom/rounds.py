"""The rounds of a batch after the first: what C rejected, what is undone, and asked to, what failed."""

from collections.abc import Sequence

from darkroom.batches import Batch, Index, chunk_id
from darkroom.errors import NotPlanned
from darkroom.planning import chunk_sizes
from darkroom.records import PlannedItem


def plan_round(batch: Batch, left: Sequence[PlannedItem], asked_by: str) -> Index:
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


def _plan(batch: Batch, number: int, left: Sequence[PlannedItem], asked_by: str) -> None:
    params, whole = batch.params(), f"r{number}"
    batch.save_plan_chunk(whole, left)
    items = batch.plan_chunk(whole)
    sizes = chunk_sizes(
        len(items), params.servers, params.k, min_items=params.min_items, cap_items=params.cap_items
    )
    chunk_ids = [chunk_id(n, number) for n in range(len(sizes))]
    begin = 0
    for name, size in zip(chunk_ids, sizes, strict=True):
        chunk = items[begin : begin + size]
        begin += size
        if not batch.save_plan_chunk(name, chunk) and batch.plan_chunk(name) != chunk:
            raise NotPlanned(f"chunk {name} of round {number} does not hold its items; it was tampered with")
    batch.save_index(
        Index(
            round=number, flow=params.flow, chunk_ids=chunk_ids, sizes=sizes, items=len(items),
            asked_by=asked_by,
        )
    )  # fmt: skip
