"""The formulas hold what their laws say, whatever the numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.views.queueing import (
    MOST_GAPS,
    Station,
    as_it_goes,
    erlang_c,
    littles_wait_s,
    steady_wait_s,
    time_left,
    utilisation,
    with_servers,
)

SECONDS = st.floats(0.001, 1000)
STATIONS = st.builds(
    Station, servers=st.integers(1, 50), seconds_per_item=SECONDS, items=st.integers(0, 10_000).map(float),
    chunk_items=st.integers(1, 500).map(float), last_items=st.just(math.inf) | st.integers(1, 500).map(float),
)  # fmt: skip
NAMES = ("a", "b", "c")
PLANTS = st.fixed_dictionaries(dict.fromkeys(NAMES, STATIONS))
PATHS = st.lists(st.permutations(NAMES).flatmap(lambda p: st.integers(1, 3).map(lambda n: p[:n])), min_size=1)


@given(STATIONS)
def test_no_stage_beats_the_bottleneck_bound_and_none_is_worse_than_list_scheduling(station):
    bound_s = station.items / station.items_per_s
    assert bound_s <= station.busy_s * (1 + 1e-9)
    assert station.busy_s <= (bound_s + station.chunk_s) * (1 + 1e-9)


@given(PLANTS, PATHS)
def test_what_is_left_takes_at_least_as_long_as_the_stage_that_decides_and_at_most_all_in_turn(plant, paths):
    seconds, name = time_left(plant, paths)
    on_the_way = {stage for path in paths for stage in path}
    longest_s = max(plant[stage].busy_s for stage in on_the_way)
    assert longest_s <= seconds * (1 + 1e-9)
    assert seconds <= sum(plant[s].busy_s + plant[s].chunk_s for s in on_the_way) * (1 + 1e-9)
    assert (name is None) == (seconds == 0)
    assert name is None or name in on_the_way


@given(PLANTS, PATHS, st.sampled_from(NAMES))
def test_another_server_never_makes_it_later_than_its_last_chunks(plant, paths, name):
    before, _ = time_left(plant, paths)
    after, _ = time_left(with_servers(plant, name, plant[name].servers + 1), paths)
    # More servers end a little less evenly: by less than half a chunk.
    assert after <= before + plant[name].chunk_s / 2 + 1e-9


def test_what_waits_at_the_end_is_a_last_chunk_not_one_as_large_as_those_of_now():
    plant = {"a": Station(2, 1.0, 600, 40, 3), "c": Station(3, 1.0, 600, 40, 3)}
    uneven_s, behind_s = 3 / 4, 3
    assert time_left(plant, [("a", "c")]) == (300 + uneven_s + behind_s, "a")
    assert Station(2, 1.0, 40, 40, 3).busy_s == 40  # a chunk is not divided


@given(PLANTS, st.sampled_from(NAMES))
def test_without_a_server_it_never_ends(plant, name):
    plant[name] = Station(0, 1.0, 5.0)
    assert time_left(plant, [NAMES]) == (math.inf, name)
    assert time_left({**plant, name: Station(0, 1.0, 0.0)}, [(name,)]) == (0.0, None)


def test_twice_the_servers_of_the_stage_that_decides_halve_the_time():
    plant = {"a": Station(4, 1.0, 1000), "c": Station(2, 4.0, 1000)}
    seconds, name = time_left(plant, [("a", "c")])
    assert name == "c"
    assert time_left(with_servers(plant, "c", 4), [("a", "c")])[0] / seconds == pytest.approx(0.5, abs=0.01)
    assert time_left(with_servers(plant, "a", 8), [("a", "c")])[0] == seconds


@given(SECONDS, st.integers(1, 100), st.floats(0, 1000), st.booleans())
def test_gaps_make_an_item_take_longer_only_where_work_is_always_there(model_s, servers, per_s, waits):
    seconds = as_it_goes(model_s, servers, per_s, waits)
    assert model_s <= seconds <= MOST_GAPS * model_s
    if not waits or not per_s:
        assert seconds == model_s


@given(st.floats(0, 100), SECONDS, st.integers(0, 50))
def test_nobody_is_busier_than_all_the_time(per_s, seconds_per_item, servers):
    assert 0 <= utilisation(per_s, seconds_per_item, servers) <= 1


def test_littles_law():
    assert littles_wait_s(28, 2) == 14
    assert littles_wait_s(0, 0) == 0
    assert littles_wait_s(1, 0) == math.inf


@given(st.integers(1, 300), st.floats(0, 0.999))
def test_all_servers_are_busy_with_a_probability_that_grows_with_the_load(servers, load):
    now, more = (erlang_c(servers, servers * share) for share in (load, load + (1 - load) / 2))
    assert -1e-12 <= now <= more + 1e-9 <= 1 + 1e-8


@pytest.mark.parametrize(("servers", "offered", "told"), [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (10, 8.0, 0.40918)])
def test_erlang_c_is_what_tables_say(servers, offered, told):
    assert erlang_c(servers, offered) == pytest.approx(told, abs=1e-4)


@given(st.floats(0.01, 0.99), SECONDS)
def test_one_server_with_exponential_times_waits_as_the_textbook_says(load, service_s):
    assert steady_wait_s(load / service_s, service_s, 1) == pytest.approx(load / (1 - load) * service_s)


@given(st.floats(0.01, 5), st.floats(0.01, 5), st.integers(1, 30), st.floats(0, 3))
def test_one_more_server_never_makes_the_wait_longer(per_s, service_s, servers, cv2):
    now, more = (steady_wait_s(per_s, service_s, n, 1, cv2) for n in (servers, servers + 1))
    assert more <= now
    assert (now == math.inf) == (per_s * service_s >= servers)
