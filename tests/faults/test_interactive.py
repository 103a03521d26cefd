"""Who waits for his picture does not wait for bulk."""

import json

from darkroom.commands.batches import api
from darkroom.rest.api import DAG_ID
from tests.faults.conftest import done
from tests.faults.outcome import chunks
from tests.stack.plant import finished, source, started, until

LANES = 4
ITEMS = 1500


def states(run):
    """The states of a batch's chunks."""
    return [instance["state"] for instance in chunks(run)]


def test_an_interactive_item_is_done_while_bulk_fills_every_lane_and_waits(submit, stack):
    bulk = submit(ITEMS, priority="bulk")
    until(
        lambda: states(bulk).count("running") == LANES and "scheduled" in states(bulk),
        "bulk has every lane, and chunks that wait for one",
    )
    item = json.dumps({"custom_id": "now", "prompt": "a picture"})
    now = started("A_C", source("now.jsonl", item), respins=0, priority="interactive")
    finished(now)
    assert done(bulk.batch_id) < ITEMS, "bulk was done before"
    instances = api().task_instances(DAG_ID, now.run_id)
    light = {ti["task_id"]: ti["pool"] for ti in instances}
    assert (light["plan"], light["collect"], light["verdict"]) == ("default_pool",) * 3
    lanes = {ti["task_id"]: (ti["queue"], ti["pool"]) for ti in instances if ti["map_index"] >= 0}
    assert lanes == {
        "a_c.generate": ("gpu.generate.now", "gpu_generate_now"),
        "a_c.inspect": ("gpu.inspect.now", "gpu_inspect_now"),
    }
    pools = {(instance["queue"], instance["pool"]) for instance in chunks(bulk)}
    assert pools == {("gpu.generate", "gpu_generate")}
    assert stack.darkroom("cancel", bulk.batch_id).returncode == 0
