"""Which run takes which chunks of a round: one run takes all where they are few, else each takes a shard."""

import hashlib
import re

from darkroom.flows import FLOWS
from darkroom.plans.planning import shards
from darkroom.store.batches import Batch, Index


def unfinished(batch: Batch, index: Index) -> list[int]:
    """Positions of the chunks that have no part of the flow's last stage yet."""
    last = FLOWS[index.flow].stages[-1]
    parts = set(batch.store.list(f"{batch.root}/parts/{last}"))
    return [
        position
        for position, chunk_id in enumerate(index.chunk_ids)
        if batch.part_path(last, chunk_id) not in parts
    ]


def chunks_here(batch: Batch, index: Index, shard: int | None = None) -> list[str]:
    """The chunks that a run takes itself: those of its shard; without one, all, if there are few enough.

    Finished ones, too, which return at once: a cleared run must have the same task instances again.
    """
    most = batch.params().shard_chunks
    if shard is not None:
        return [index.chunk_ids[position] for position in shards(len(index.chunk_ids), most)[shard]]
    return index.chunk_ids if len(index.chunk_ids) <= most else []


def shards_left(batch: Batch, index: Index, after: int = -1) -> dict[int, int]:
    """The shards behind `after` that have unfinished chunks, and how many chunks they have."""
    todo = set(unfinished(batch, index))
    runs = enumerate(shards(len(index.chunk_ids), batch.params().shard_chunks))
    return {number: len(run) for number, run in runs if number > after and todo.intersection(run)}


def child_run_id(batch_id: str, run_id: str, what: str) -> str:
    """The run id of a child, the same on every try: `b1__shard007`, `b1__round1__shard000`, `b1__round2`.

    All descendants of a batch's runs begin with `{batch_id}__`, which is how they are found.
    """
    # Rounds are numbered by the batch: they nest, their names need not. Shards are numbered by their round.
    stem = re.sub(r"__round\d+$", "", run_id) if what.startswith("round") else run_id
    if stem != batch_id and not stem.startswith(f"{batch_id}__"):
        stem = f"{batch_id}__{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"
    return f"{stem}__{what}"
