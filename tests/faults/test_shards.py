"""A batch of several runs: one run a shard whatever dies, no slot held while waiting, collected last."""

from collections import Counter

import pytest

from darkroom.commands.batches import api
from darkroom.flows import STAGES
from darkroom.orchestration.gate import fence_of
from darkroom.plans import planning
from darkroom.rest.api import DAG_ID
from tests.faults.outcome import children, chunks, complete
from tests.stack.plant import back, batch_of, kill_tree, pid_of, until

ITEMS, MANY = 720, 1200


def state(run):
    """Of the task that starts the shards and waits for them."""
    found = api().task_instances(DAG_ID, run.run_id)
    return next(ti["state"] for ti in found if ti["task_id"] == "run_shards")


def shards_of(run):
    """The runs of the first round's shards."""
    return [run_id for run_id in children(run.batch_id) if run_id.startswith(f"{run.batch_id}__shard")]


def test_shards_survive_a_killed_api_server_and_a_failed_shard_and_are_collected_last(submit):
    run = submit(ITEMS, made=0)
    until(lambda: shards_of(run), "the first shard is started")
    old = pid_of("api-server")
    kill_tree("api-server")
    back("api-server", old)
    until(lambda: len(shards_of(run)) > 1 and state(run) == "deferred", "the second shard is started")
    api().fail("shard_flow", shards_of(run)[1])
    complete(run, ITEMS, timeout_s=280)
    assert shards_of(run) == [f"{run.batch_id}__shard{number:03d}" for number in range(len(planned(run)))]
    assert len(planned(run)) >= 3
    assert any(run_id.endswith("__round1") for run_id in children(run.batch_id))
    collected = next(ti for ti in api().task_instances(DAG_ID, run.run_id) if ti["task_id"] == "collect")
    ended = [
        ti["end_date"]
        for shard in shards_of(run)
        for ti in api().task_instances("shard_flow", shard)
        if ti["end_date"]
    ]
    assert collected["start_date"] > max(ended)


def planned(run):
    """How many chunks each shard of its plan has."""
    batch = batch_of(run)
    runs = planning.shards(len(batch.planned().chunk_ids), batch.params().shard_chunks)
    return [len(one) for one in runs]


@pytest.fixture
def c_stands_aside():
    """No server takes chunks of C, until it is called."""
    fence = fence_of("inspect-1")
    fence.put_up("a test")
    yield fence.take_down
    fence.take_down()


def without_c(run):
    """The shards that are opened while C takes none: as long as few chunks have still to come to it."""
    a, c, sizes = STAGES["generate"], STAGES["inspect"], planned(run)
    room = a.servers * a.lanes_per_server + 2 * c.servers * c.lanes_per_server
    opened = 1
    while opened < len(sizes) and sum(sizes[:opened]) <= room:
        opened += 1
    return sizes[:opened]


def test_where_the_last_stage_is_slowest_few_shards_are_opened(submit, c_stands_aside):
    run = submit(MANY, flow="A_C")
    opened = without_c(run)
    assert len(opened) < len(planned(run)) - 1

    def generated():
        return Counter(ti["state"] for ti in chunks(run))["success"] == sum(opened)

    until(generated, "all that there is room for is generated")
    assert (state(run), len(shards_of(run))) == ("deferred", len(opened))
    c_stands_aside()
    complete(run, MANY, timeout_s=280)
    assert len(shards_of(run)) == len(planned(run))
