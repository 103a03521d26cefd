"""A part of the plant dies, hangs or forgets in the middle of a batch: each item once, and none failed."""

import json
import signal
from collections import Counter

import psutil
import pytest
import redis

from darkroom import stack as plant_of
from darkroom.flows import STAGES
from tests.faults.conftest import SCHEDULERS, TRIGGERERS
from tests.faults.outcome import chunks, complete, hashes, tries
from tests.stack.plant import back, batch_of, kill_tree, pid_of, source, started, until, whole

ITEMS = 240


def test_a_killed_worker_costs_no_item_and_only_what_was_in_flight_is_computed_again(submit, fleet):
    ledgers = [fleet.put("count", server) for server in ("generate-1", "generate-2")]
    run = submit(ITEMS, made=40)
    old = pid_of("worker-generate-1")
    kill_tree("worker-generate-1")
    complete(run, ITEMS)
    assert max(tries(run)) > 1, "the kill hit no running chunk"
    computed = Counter(line for ledger in ledgers for line in ledger.read_text().splitlines())
    assert len(computed) == ITEMS
    # Its two lanes had three batches between them: one of a server's lanes sends one ahead.
    assert computed.total() - ITEMS <= 3 * STAGES["generate"].batch_size
    back("worker-generate-1", old)


def test_a_killed_model_server_costs_no_item_and_no_try_of_its_chunk(submit):
    run = submit(ITEMS)
    old = pid_of("server-generate-1")
    kill_tree("server-generate-1")
    complete(run, ITEMS)
    assert max(tries(run)) == 1
    back("server-generate-1", old)


@pytest.mark.parametrize("parts", [SCHEDULERS, ["api-server"], ["valkey"]], ids=" ".join)
def test_a_killed_part_costs_no_item(submit, parts):
    run = submit(ITEMS)
    old = {part: pid_of(part) for part in parts}
    for part in parts:
        kill_tree(part)
    complete(run, ITEMS, timeout_s=240)
    for part in parts:
        back(part, old[part])


def test_a_restart_of_postgresql_costs_no_item(submit):
    run = submit(ITEMS)
    old = pid_of("postgres")
    kill_tree("postgres")
    complete(run, ITEMS, timeout_s=240)
    back("postgres", old)
    for part in (*SCHEDULERS, "dag-processor", *TRIGGERERS):
        until(lambda part=part: pid_of(part), f"{part} is back")


def test_a_valkey_that_forgets_everything_costs_no_item(submit):
    run = submit(ITEMS)
    url = plant_of.environment()["DARKROOM_REDIS_URL"]
    with redis.Redis.from_url(url) as server:
        server.flushall()
    complete(run, ITEMS, timeout_s=240)


def test_a_worker_that_wakes_up_after_its_chunks_were_done_elsewhere_changes_nothing(submit, stack):
    run = submit(ITEMS)
    frozen = [psutil.Process(pid_of("worker-generate-1"))]
    frozen += frozen[0].children(recursive=True)
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    try:
        batch, _ = complete(run, ITEMS, timeout_s=240)
        assert max(tries(run)) > 1, "no chunk was on the frozen worker"
        before = hashes(batch)
    finally:
        for process in frozen:
            process.send_signal(signal.SIGCONT)
    chunk_processes = [process for process in frozen if process.pid != frozen[0].pid]
    whole()
    until(lambda: not any(_works_on(process) for process in chunk_processes), "the zombies have ended")
    assert hashes(batch) == before


def _works_on(process):
    """Whether a process of a worker is a chunk at work: a task's supervisor titles itself so."""
    try:
        return process.is_running() and "task" in " ".join(process.cmdline()).lower()
    except psutil.Error:
        return False


def test_a_host_that_drains_puts_its_chunks_back_and_spends_no_try(submit):
    run = submit(ITEMS)
    marker = plant_of.Stack.load().home.path / "drain"
    marker.touch()
    try:
        until(lambda: any(ti["state"] == "up_for_reschedule" for ti in chunks(run)), "a chunk was put back")
    finally:
        marker.unlink()
    complete(run, ITEMS)


def test_a_plan_killed_half_way_is_finished_the_same(stack):
    whole()
    count = 40_000
    lines = (json.dumps({"custom_id": f"i{n}", "prompt": "a picture"}) for n in range(count))
    run = started("A", source("large.jsonl", "\n".join(lines)))
    batch = batch_of(run)
    until(lambda: len(list(batch.store.list(f"{batch.root}/plan"))) > 3, "the plan has begun")
    old = pid_of("worker-default")
    kill_tree("worker-default")
    assert batch.index() is None, "the plan was finished before it was killed"
    begun = hashes(batch, "plan")
    assert begun
    until(lambda: batch.index() is not None, "the plan is committed", timeout_s=150)
    assert stack.darkroom("cancel", run.batch_id).returncode == 0
    assert begun.items() <= hashes(batch, "plan").items()
    index = batch.planned()
    planned = [item.custom_id for chunk in index.chunk_ids for item in batch.plan_chunk(chunk)]
    assert planned == [f"i{n}" for n in range(count)]
    back("worker-default", old)
