"""What must be true after every fault."""

import hashlib
import os
from collections import Counter

from darkroom.commands.batches import api
from darkroom.rest.api import DAG_ID
from darkroom.results.manifest import rows
from tests.stack.plant import finished

wasted: list[str] = []
"""Of each batch; told when all tests are done."""


def complete(run, items, failed=0, **arguments):
    """The batch is done: each item has one row, and no more failed than must; what was wasted is noted."""
    batch, summary = finished(run, **arguments)
    assert (summary.items, summary.completed, summary.failed) == (items, items - failed, failed)
    ids = Counter(row.custom_id for row in rows(batch, summary))
    assert len(ids) == items
    assert set(ids.values()) == {1}
    test = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2]
    wasted.append(f"{test}, {items} items of {run.flow}: {summary.wasted}")
    return batch, summary


def chunks(run, stage="generate"):
    """The task instances of a stage in the batch's own run and in its children."""
    runs = [(DAG_ID, run.run_id), *(("shard_flow", child) for child in children(run.batch_id))]
    return [
        instance
        for dag_id, run_id in runs
        for instance in api().task_instances(dag_id, run_id)
        if instance["task_id"].endswith(f".{stage}")
    ]


def children(batch_id):
    """The runs that a batch has started, oldest first."""
    return [run.run_id for run in reversed(api().runs_of_batch("shard_flow", batch_id))]


def tries(run):
    """How often each chunk of stage A was tried."""
    return [instance["try_number"] for instance in chunks(run)]


def hashes(batch, folder=""):
    """Path to SHA-256 of all that a batch has written, its pictures too."""
    folders = [f"{batch.root}/{folder}"] if folder else [batch.root, "images"]
    paths = [path for found in folders for path in batch.store.list(found)]
    return {path: hashlib.sha256(batch.store.read(path)).hexdigest() for path in paths}
