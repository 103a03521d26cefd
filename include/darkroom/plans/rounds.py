"""The rounds of a batch after the first: what C rejected, what is undone, and asked to, what failed."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from darkroom.errors import NotPlanned
from darkroom.plans.intake import save_chunks
from darkroom.plans.planning import Params
from darkroom.records import PlannedItem
from darkroom.store.batches import Batch, Index, round_id
from darkroom.store.plan_table import cut, write_plan
from darkroom.store.tables import open_table

Left = Callable[[], Iterable[PlannedItem]]


def plan_round(
    batch: Batch, left: Left, asked_by: str, recut: Callable[[Params], Params] = lambda first: first
) -> Index:
    """Cut what is left into the next round; the same asker gets the same round again.

    An asker's draft of the round as a whole is fixed before it is cut, so a try of it that was killed in
    between is finished the same. A draft of somebody else is none of ours: it may leave out what we shall
    plan, or come of a run that was cancelled.

    Args:
        batch: planned.
        left: gives what its manifest lacks; looked at anew when another run has taken the round.
        asked_by: id of the run that asks.
        recut: what the round's cut derives from, given what the first plan did: by now the batch has been
            measured, and chunks that were planned too long must not stay so.
    """
    number = 1
    while (index := batch.index(number)) is None or index.asked_by != asked_by:
        if index is None:  # if somebody else is quicker, the round is theirs, and ours the next
            _plan(batch, number, left, asked_by, recut)
        else:
            number += 1
    return index


def _plan(batch: Batch, number: int, left: Left, asked_by: str, recut: Callable[[Params], Params]) -> None:
    """Through a file on local disk and one in the store: there may be a million items, and long ones."""
    name = round_id(number, asked_by)
    path = batch.draft_path(name)
    batch.save_params(recut(batch.params()), name)
    if not batch.store.exists(path):
        with tempfile.TemporaryDirectory(prefix="darkroom-round-") as folder:
            draft = Path(folder, "draft.parquet")
            with draft.open("wb") as file:
                write_plan(file, left())
            batch.store.create_file(path, draft)
    with batch.store.open(path) as there:
        items = open_table(there)

        def chunks(sizes: list[int]) -> Iterator[bytes]:
            groups = (items.read_row_group(n, use_threads=False) for n in range(items.num_row_groups))
            return cut((batch for group in groups for batch in group.to_batches()), sizes)

        index = save_chunks(
            batch, number, batch.params(name), chunks, items.metadata.num_rows, asked_by=asked_by
        )
    if index is None:
        raise NotPlanned(f"the chunks of round {number} do not hold its items; it was tampered with")
    batch.save_index(index)
