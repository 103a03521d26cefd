"""One fault in the middle of a batch, each; then: the batch is complete, and nothing is in it twice."""

import hashlib
import json
from collections import Counter

import pytest

from darkroom import stack as plant_of
from darkroom.commands.batches import api
from darkroom.commands.watching import DAG_ID
from darkroom.manifest import rows
from tests.stack.plant import back, batch_of, finished, kill_tree, pid_of, source, started, until

SLOW = {"generate": {"steps": 40}}
ITEMS = 40


@pytest.fixture
def running(stack):
    """A batch in the middle of stage A: a chunk has made some of its pictures, and more are to come."""
    stack.wait_healthy(90)
    lines = [{"custom_id": f"i{n}", "prompt": "a small red star on a blue background"} for n in range(ITEMS)]
    text = "\n".join(json.dumps(line) for line in lines)
    run = started("A_C", source("slow.jsonl", text), options=SLOW, respins=0)
    until(lambda: _done(run.batch_id) >= 8, "the first pictures are made")
    return run


def _done(batch_id):
    from darkroom.progress import Progress

    seen = Progress(plant_of.environment()["DARKROOM_REDIS_URL"]).read(batch_id)
    return seen.stages["generate"].total if "generate" in seen.stages else 0


def chunks(run):
    """The task instances of stage A."""
    return [ti for ti in api().task_instances(DAG_ID, run.run_id) if ti["task_id"] == "a_c.generate"]


def complete(run, **arguments):
    """The batch is done: each item once, none failed."""
    batch, summary = finished(run, **arguments)
    assert (summary.items, summary.completed + summary.rejected) == (ITEMS, ITEMS)
    ids = Counter(row.custom_id for row in rows(batch, summary))
    assert set(ids.values()) == {1}
    return batch, summary


def test_a_killed_worker_costs_no_item(running):
    old = pid_of("worker-generate-1")
    images_before = set(batch_of(running).store.list("images/generate"))
    kill_tree("worker-generate-1")
    batch, _ = complete(running)
    assert images_before <= set(batch.store.list("images/generate"))
    tries = [ti["try_number"] for ti in chunks(running)]
    assert max(tries) > 1, "the kill hit no running chunk"
    back("worker-generate-1", old)


def test_a_killed_model_server_costs_no_item_and_no_try_of_its_chunk(running):
    old = pid_of("server-generate-1")
    kill_tree("server-generate-1")
    complete(running)
    tries = [ti["try_number"] for ti in chunks(running)]
    assert max(tries) == 1
    back("server-generate-1", old)


def test_a_restart_of_postgresql_costs_no_item(running):
    parts = ("scheduler", "dag-processor", "triggerer")
    old = pid_of("postgres")
    kill_tree("postgres")
    complete(running, timeout_s=240)
    back("postgres", old)
    for part in parts:
        until(lambda part=part: pid_of(part), f"{part} is back")


def test_a_batch_goes_on_after_valkey_was_killed(running):
    old = pid_of("valkey")
    kill_tree("valkey")
    complete(running, timeout_s=240)
    back("valkey", old)


def test_a_host_that_drains_puts_its_chunks_back_and_spends_no_try(running):
    marker = plant_of.Stack.load().home.path / "drain"
    marker.touch()
    try:
        until(
            lambda: any(ti["state"] == "up_for_reschedule" for ti in chunks(running)), "a chunk was put back"
        )
    finally:
        marker.unlink()
    complete(running)


def test_a_plan_killed_half_way_is_finished_the_same(stack):
    stack.wait_healthy(90)
    lines = (
        json.dumps({"custom_id": f"i{n}", "prompt": "a red circle on a blue background"})
        for n in range(60_000)
    )
    run = started("A", source("large.jsonl", "\n".join(lines)))
    batch = batch_of(run)
    until(lambda: len(list(batch.store.list(f"{batch.root}/plan"))) > 3, "the plan has begun")
    old = pid_of("worker-default")
    kill_tree("worker-default")
    assert batch.index() is None, "the plan was finished before it was killed"
    begun = _hashes(batch)
    assert begun
    until(lambda: batch.index() is not None, "the plan is committed", timeout_s=150)
    api().fail(DAG_ID, run.run_id)
    assert begun.items() <= _hashes(batch).items()
    index = batch.planned()
    planned = [item.custom_id for chunk in index.chunk_ids for item in batch.plan_chunk(chunk)]
    assert planned == [f"i{n}" for n in range(60_000)]
    back("worker-default", old)


def _hashes(batch):
    paths = batch.store.list(f"{batch.root}/plan")
    return {path: hashlib.sha256(batch.store.read(path)).hexdigest() for path in paths}
