"""A look at the real plant names what its batches wait for, and ends with the numbers of their manifests."""

from tests.stack.plant import finished, seen, until
from tests.stack.waiting import ITEMS, four_batches


def test_two_a_c_and_two_b_c_wait_for_two_servers_of_c(stack):
    runs = four_batches()
    names = {run.batch_id for run in runs}

    def named():
        plant = seen()
        stages = {one.stage: one for one in plant.stages}
        here = {one.outlook.batch_id for one in plant.batches if one.outlook.state == "running"}
        told = (plant.bottleneck.kind, plant.bottleneck.stage) == ("stage", "inspect")
        both = plant.bottleneck.servers == 2
        return plant if told and both and names <= here and stages["inspect"].items_waiting else None

    plant = until(named, "inspect is named while four batches wait for it")
    assert plant.bottleneck.sentence.startswith("inspect is the bottleneck: ")
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
