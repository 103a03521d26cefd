"""What the board foresees of another server, against a simulation of the plant."""

import pytest
from bench.simulated_stages import Plant
from bench.what_if import GOAL, SCENARIOS, simulated

from darkroom.flows import FLOWS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_a_change_of_servers_is_foreseen_within_a_tenth_of_the_time_left(scenario):
    assert simulated(scenario, seed=0).error <= GOAL


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_no_run_is_faster_than_its_slowest_stage_could_be_and_none_is_idle(scenario):
    work = dict.fromkeys(scenario.speeds, 0.0)
    for flow, items in scenario.batches:
        for stage in FLOWS[flow].stages:
            work[stage] += items * scenario.item_s[stage]
    bounds = [seconds / sum(scenario.speeds[stage]) for stage, seconds in work.items()]
    assert 0.9 * max(bounds) <= Plant(scenario, 0).run() <= 2 * sum(bounds)


def test_the_same_seed_gives_the_same_run():
    assert Plant(SCENARIOS[0], 3).run() == Plant(SCENARIOS[0], 3).run() != Plant(SCENARIOS[0], 4).run()
