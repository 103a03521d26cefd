"""A forecast holds what can be known of the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.views.forecast import Forecast, forecast

rates = st.dictionaries(st.text(max_size=3), st.floats(1e-3, 1e3), min_size=1, max_size=20)
remaining = st.integers(1, 2_000_000)


@given(remaining, rates, st.integers(0, 10_000))
def test_the_range_holds_the_middle(remaining, rates, largest):
    said = forecast(remaining, rates, largest)
    assert said is not None
    assert 0 < said.low <= said.seconds <= said.high


@given(remaining, rates, st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_another_host_never_makes_it_later(remaining, rates, largest, rate):
    fewer, more = (
        forecast(remaining, rates, largest),
        forecast(remaining, {**rates, "another": rate}, largest),
    )
    assert fewer is not None
    assert more is not None
    assert more.seconds <= fewer.seconds


@given(remaining, rates, st.floats(0, 0.9))
def test_half_as_many_items_take_half_as_long(remaining, rates, spread):
    all_of_it, half = forecast(2 * remaining, rates, spread=spread), forecast(remaining, rates, spread=spread)
    assert all_of_it is not None
    assert half is not None
    assert all_of_it.seconds == pytest.approx(2 * half.seconds)


def test_the_slowest_host_may_just_have_taken_a_chunk():
    said = forecast(20, {"fast": 1.0, "slow": 4.0}, largest_running_chunk_items=10)
    assert said is not None
    assert said.seconds == pytest.approx(16)
    assert said.high == 10 * 4.0 * 2  # its other lane has a chunk, too


def test_a_host_that_hardly_moves_is_stopped_by_the_budget_of_its_chunk():
    hosts = {"fast": 1.0, "other": 1.0, "stuck": 1000.0}
    said = forecast(20, hosts, largest_running_chunk_items=10)
    assert said is not None
    assert 2000 < said.high < 2000 + 300  # two items, and a budget, not twenty


def test_nothing_left_takes_no_time_and_no_host_never_ends():
    assert forecast(0, {}) == Forecast(0.0, 0.0, 0.0)
    assert forecast(1, {}) is None
