"""Old batches: first marked, then removed if no run works on them.

A run may take a batch up again at any time. So, in this order: a batch is marked; then Airflow says which
batches have runs that have not ended; then those that have none are removed. A run that was there when
Airflow was asked keeps its batch. One that came later finds the mark when it plans (`Batch.is_going`), is
put back until it is gone, and then begins anew.

    deleting/asked/{batch_id}      from here on nobody may begin
    deleting/begun/{batch_id}      from here on it goes for good, also after a crash
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from darkroom.retention.removal import remove
from darkroom.retention.tally import Tally
from darkroom.store.batches import Batch, batches_in
from darkroom.store.storage import Store


@dataclass(frozen=True, slots=True)
class Old:
    """A batch and what it takes; its pictures belong to all batches."""

    batch: Batch
    size_bytes: int
    written_s: float
    """When its newest file was written: while anybody works on it, it is young."""


def find(store: Store, before_s: float) -> Iterator[Old]:
    """The batches whose newest file was written before `before_s`."""
    for batch in batches_in(store):
        old = _look(batch)
        if old is not None and old.written_s < before_s:
            yield old


def _look(batch: Batch) -> Old | None:
    size_bytes, newest_s = 0, None
    for _path, stat in batch.store.list_stats(batch.root):
        size_bytes += stat.size_bytes
        newest_s = max(newest_s or 0.0, stat.modified_s)
    return None if newest_s is None else Old(batch, size_bytes, newest_s)


def mark(batch: Batch) -> None:
    """Let no run begin with it."""
    batch.store.create_json(batch.going_path, {"at": round(time.time(), 3)})


def marked(store: Store) -> list[Batch]:
    """The batches that are marked, by this run or by one that a crash has ended."""
    paths = store.list("deleting/asked")
    return [Batch(store, path.rpartition("/")[2]) for path in sorted(paths)]


def remove_marked(batches: Iterable[Batch], live: frozenset[str], tally: Tally) -> None:
    """Remove batches, but those in `live`; these are marked no more.

    Args:
        batches: that were marked before Airflow was asked, and no others: of those the answer knows nothing.
        live: the batches with runs that had not ended, as Airflow said then.
        tally: told of each.
    """
    for batch in batches:
        if not batch.is_going():  # another try of this task was faster, and the name may be taken again
            continue
        store, begun = batch.store, f"deleting/begun/{batch.batch_id}"
        # Who began while it was going was put back, so there is nothing of theirs in it.
        if batch.batch_id in live and not store.exists(begun):
            tally.notes.append(f"batch {batch.batch_id} is kept: a run of it has not ended")
        else:
            store.create_json(begun, {})
            old = _look(batch)
            # First, so that whoever looks meanwhile sees no plan rather than half of one.
            remove(store, [path for path in store.list(f"{batch.root}/plan") if "/index" in path])
            remove(store, list(store.list(batch.root)))
            remove(store, [begun])
            tally.add(old.size_bytes if old else 0, old.written_s if old else None)
        remove(store, [batch.going_path])
