"""The planner's constants keep their promises on a simulated fleet; the same seed gives the same run."""

import pytest
from bench.simulate import CASES, GOALS, SEEDS, simulate
from bench.simulated_world import Case, fluid_s
from hypothesis import given
from hypothesis import strategies as st

STEADY = CASES[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("items", [1_000, 10_000])
def test_every_item_has_an_outcome_and_no_run_beats_the_bound(case, items):
    for seed in SEEDS:
        outcome = simulate(case, items, seed)
        assert outcome.undone == 0
        assert outcome.excess > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_thousand_items_end_within_one_per_cent_of_the_bound(seed):
    assert 100 * simulate(STEADY, 10_000, seed).excess <= GOALS["steady", 10_000]


@pytest.mark.parametrize("name", ["one drops to 2 %", "one dies"])
def test_a_million_items_end_within_one_per_cent_though_the_slowest_machine_breaks(name):
    case = next(case for case in CASES if case.name == name)
    assert 100 * simulate(case, 1_000_000, seed=9).excess <= GOALS[name, 1_000_000]


def test_the_same_seed_gives_the_same_run():
    assert simulate(CASES[2], 10_000, 3) == simulate(CASES[2], 10_000, 3)


def test_a_legitimately_slow_machine_leaves_nothing_over():
    assert all(simulate(STEADY, 10_000, seed).left_over == [] for seed in SEEDS)


def test_most_forecasts_hold_the_truth_when_nothing_happens():
    held = [
        look.said.low <= outcome.makespan_s - look.at_s <= look.said.high
        for outcome in (simulate(STEADY, 10_000, seed) for seed in SEEDS)
        for look in outcome.looks
    ]
    assert sum(held) >= 0.8 * len(held) > 0


@given(st.floats(1, 1e6), st.lists(st.tuples(st.floats(1, 100), st.floats(0.5, 10)), max_size=4))
def test_the_bound_is_when_the_speeds_have_added_up_to_the_work(work, pieces):
    capacity = [(0.0, 1.0)]
    for lasts_s, speed in pieces:
        capacity.append((capacity[-1][0] + lasts_s, speed))
    end_s = fluid_s(work, capacity)
    ends_s = [*(begin_s for begin_s, _ in capacity[1:]), float("inf")]
    done = sum(
        speed * max(0.0, min(end_s, until_s) - begin_s)
        for (begin_s, speed), until_s in zip(capacity, ends_s, strict=True)
    )
    assert done == pytest.approx(work)


def test_a_case_without_a_victim_changes_nobody():
    assert not Case("quiet").has_victim
    assert Case("dead", factor=0.0).has_victim
