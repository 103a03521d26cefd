"""Who waits for his picture does not wait for bulk."""

import json

from darkroom.commands.batches import api
from darkroom.commands.watching import DAG_ID
from darkroom.flows import STAGES
from tests.stack.plant import finished, source, started, until

RED = "a large red circle on a white background"


def prompts(name, count):
    lines = [{"custom_id": f"i{n}", "prompt": RED} for n in range(count)]
    return source(name, "\n".join(json.dumps(line) for line in lines))


def chunks(run):
    """The task instances of a run that are chunks at a stage."""
    found = api().task_instances(DAG_ID, run.run_id)
    return [ti for ti in found if ti["task_id"].rpartition(".")[2] in STAGES and ti["map_index"] >= 0]


def test_an_interactive_item_is_done_while_bulk_fills_every_lane_and_waits(stack):
    bulk = started("A", prompts("bulk.jsonl", 3000), respins=0, priority="bulk")

    def waiting():
        states = [chunk["state"] for chunk in chunks(bulk)]
        return states.count("running") == STAGES["generate"].lanes and states.count("scheduled")

    try:
        until(waiting, "bulk has every lane, and chunks that wait for one")
        now = started("A_C", prompts("now.jsonl", 1), respins=0, priority="interactive")
        finished(now)
        assert waiting()
        light = {ti["task_id"]: ti["pool"] for ti in api().task_instances(DAG_ID, now.run_id)}
        assert (light["plan"], light["collect"], light["deliver"]) == ("default_pool",) * 3
        lanes = {
            chunk["task_id"]: (chunk["queue"], chunk["pool"]) for chunk in chunks(now) if chunk["end_date"]
        }
        assert lanes == {
            "a_c.generate": ("gpu.generate.now", "gpu_generate_now"),
            "a_c.inspect": ("gpu.inspect.now", "gpu_inspect_now"),
        }
        assert {(chunk["queue"], chunk["pool"]) for chunk in chunks(bulk)} == {
            ("gpu.generate", "gpu_generate")
        }
    finally:
        api().fail(DAG_ID, bulk.run_id)
        until(lambda: not any(chunk["state"] == "running" for chunk in chunks(bulk)), "bulk has ended")
