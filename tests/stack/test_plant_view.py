"""A look at the real plant names what its batches wait for, and ends with the numbers of their manifests."""

import json

from darkroom.commands.batches import api
from darkroom.overview import Overview
from darkroom.settings import REPOSITORY
from tests.stack.plant import finished, source, started, until

ITEMS = 80
OPTIONS = {"A_C": {"generate": {"steps": 1}}, "B_C": {"enhance": {"scale": 1, "max_side": 64}}}


def seen():
    return Overview.model_validate(api().darkroom("GET", "/api/plant"))


def alike(name, **what):
    """Items of the same picture, which is made once and judged each time, as each asks for other limits."""
    options = [{"inspect": {"max_nsfw": 0.5 + number / 10_000}} for number in range(ITEMS)]
    lines = [{"custom_id": f"i{n}", "options": one, **what} for n, one in enumerate(options)]
    return source(f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def test_two_a_c_and_two_b_c_wait_for_two_servers_of_c(stack):
    source("plant-view/cat.jpg", (REPOSITORY / "examples/photos/cat.jpg").read_bytes())
    batches = [
        ("A_C", alike("plant-view/a1", prompt="a large red circle on a white background", seed=1)),
        ("A_C", alike("plant-view/a2", prompt="a large red circle on a white background", seed=2)),
        ("B_C", alike("plant-view/b1", image="cat.jpg")),
        ("B_C", alike("plant-view/b2", image="cat.jpg")),
    ]
    runs = [started(flow, where, respins=0, options=OPTIONS[flow]) for flow, where in batches]
    names = {run.batch_id for run in runs}

    def named():
        plant = seen()
        stages = {one.stage: one for one in plant.stages}
        here = {one.outlook.batch_id for one in plant.batches if one.outlook.state == "running"}
        told = plant.bottleneck.stage == "inspect" and plant.bottleneck.kind == "stage"
        return plant if told and names <= here and stages["inspect"].items_waiting else None

    plant = until(named, "inspect is named while four batches wait for it")
    assert plant.bottleneck.sentence.startswith("inspect is the bottleneck: ")
    assert plant.bottleneck.servers == 2
    inspect = next(one for one in plant.stages if one.stage == "inspect")
    assert inspect.more.time_left_s < inspect.fewer.time_left_s
    assert {one.server.partition("@")[0] for one in plant.servers} >= {"generate-1", "inspect-1", "inspect-2"}

    summaries = {run.batch_id: finished(run)[1] for run in runs}

    def ended():
        told = {one.outlook.batch_id: one for one in seen().batches if one.ended}
        return told if names <= told.keys() else None

    for name, one in until(ended, "all four are told as ended").items():
        if name in names:
            last, summary = one.outlook.stages[-1], summaries[name]
            assert (one.outlook.state, one.outlook.items, summary.items) == ("success", ITEMS, ITEMS)
            assert (last.done, last.rejected, last.failed) == (
                summary.completed, summary.rejected, summary.failed
            )  # fmt: skip
