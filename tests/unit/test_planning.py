"""Cuts add up and keep their limits; seeds never change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.flows import FLOWS, STAGES
from darkroom.plans.planning import (
    K_LAST,
    SHARD_CHUNKS,
    SLOWEST,
    Params,
    average_seconds_per_item,
    chunk_sizes,
    decide_params,
    seed_for,
    shards,
    time_budget_s,
)

limits = st.tuples(st.integers(1, 500), st.integers(0, 2000)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.integers(0, 2_000_000), st.integers(1, 64), st.integers(1, 8), limits, st.integers(1, 300))
def test_sizes_add_up_never_grow_and_are_few(n_items, servers, k, limits, max_chunks):
    low, cap = limits
    sizes = chunk_sizes(n_items, servers, k, low, cap, max_chunks)
    assert sum(sizes) == n_items
    assert len(sizes) <= max_chunks
    assert all(size > 0 for size in sizes)
    assert sizes == sorted(sizes, reverse=True)


@given(st.integers(1, 20_000), st.integers(1, 64), st.integers(1, 8), limits)
def test_every_size_but_the_last_keeps_its_limits_and_its_share(n_items, servers, k, limits):
    low, cap = limits
    sizes = chunk_sizes(n_items, servers, k, low, cap, max_chunks=10**9)
    remaining = n_items
    for size in sizes[:-1]:
        assert low <= size <= cap
        assert size == max(low, min(cap, -(-remaining // (k * servers))))
        remaining -= size
    assert sizes[-1] == remaining <= cap


@given(st.integers(1, 20_000), st.integers(2, 64), limits, st.integers(1, 500))
def test_only_the_last_chunks_are_smaller_than_the_smallest(n_items, servers, limits, last):
    low, cap = limits
    last = min(last, low)
    plain = chunk_sizes(n_items, servers, 12, low, cap, max_chunks=10**9)
    sizes = chunk_sizes(n_items, servers, 12, low, cap, max_chunks=10**9, last_items=last)
    assert sum(sizes) == n_items
    assert sizes == sorted(sizes, reverse=True)
    assert all(size >= last for size in sizes[:-1])
    small = [size for size in sizes if size < low]
    assert sum(small) <= K_LAST * servers * low, "a share of what an average server does at the end"
    assert sizes[: len(sizes) - len(small)] == plain[: len(sizes) - len(small)]


def test_at_the_end_chunks_of_several_servers_shrink_as_all_wait_for_the_slowest():
    rates, servers = {"generate": 0.107}, {"generate": 4}
    params = decide_params("f", "A", min_chunk_s=5, max_chunk_s=900, seconds_per_item=rates, servers=servers)
    sizes = params.sizes(20_000)
    plain = params.model_copy(update={"last_items": None}).sizes(20_000)
    assert (params.min_items, params.last_items) == (47, 16)
    assert sizes[-3:-1] == [16, 16]
    assert sum(size for size in sizes if size < 47) <= K_LAST * 4 * 47
    assert len(plain) < len(sizes) < 1.2 * len(plain)


@given(st.integers(1, 20_000), st.integers(1, 64), limits, st.integers(1, 256))
def test_limits_grow_only_as_far_as_they_must(n_items, servers, limits, max_chunks):
    low, cap = limits
    free = chunk_sizes(n_items, servers, 4, low, cap, 10**9)
    sizes = chunk_sizes(n_items, servers, 4, low, cap, max_chunks)
    if len(free) <= max_chunks:
        assert sizes == free
    else:
        assert sizes[0] >= free[0]


def test_too_many_chunks_become_at_most_as_many_as_allowed_and_not_far_fewer():
    sizes = chunk_sizes(1_000_000, 10, 4, 1, 175, 256)
    assert 230 < len(sizes) <= 256


@pytest.mark.parametrize(("flow", "most"), [("A", 256), ("A_C", SHARD_CHUNKS * 10)])
def test_a_million_items_on_ten_machines_are_runs_of_which_the_last_has_the_tail(flow, most):
    rates = {"generate": 10.0, "inspect": 1.0}
    params = decide_params(
        "f", flow, min_chunk_s=1, max_chunk_s=900, seconds_per_item=rates, servers={"generate": 10}
    )
    assert params.shard_chunks == most
    sizes = params.sizes(1_000_000)
    runs = shards(len(sizes), params.shard_chunks)
    assert all(len(run) <= params.shard_chunks for run in runs)
    assert all(sizes[position] == params.cap_items for run in runs[: len(runs) // 2] for position in run)
    assert sizes[runs[-1][-1]] == min(sizes) < params.cap_items


def test_everything_that_decides_a_cut_is_in_the_params():
    params = decide_params("f", "A", min_chunk_s=30, max_chunk_s=900, servers={"generate": 4})
    whole = params.sizes(20_000)
    assert Params.model_validate_json(params.model_dump_json()).sizes(20_000) == whole
    for changed in ({"k": 3}, {"k_last": 1}, {"max_chunks": 20}, {"min_items": 50}, {"last_items": 1},
                    {"cap_items": params.min_items}, {"servers": 9}):  # fmt: skip
        assert params.model_copy(update=changed).sizes(20_000) != whole, changed


@given(st.integers(0, 3000), st.integers(1, 300))
def test_shards_hold_each_chunk_once_in_order_and_only_the_first_may_be_short(n_chunks, shard_chunks):
    runs = shards(n_chunks, shard_chunks)
    assert [position for run in runs for position in run] == list(range(n_chunks))
    assert all(len(run) == shard_chunks for run in runs[1:])
    assert all(0 < len(run) <= shard_chunks for run in runs)


@pytest.mark.parametrize(
    "wrong", [{"servers": 0}, {"k": 0}, {"min_items": 0}, {"min_items": 9, "cap_items": 8}]
)
def test_impossible_limits_are_refused(wrong):
    with pytest.raises(ValueError, match="no chunks"):
        chunk_sizes(**{"n_items": 10, "servers": 1, "k": 4, "min_items": 1, "cap_items": 8} | wrong)


@pytest.mark.parametrize(
    ("arguments", "seed"),
    [
        (("b1", "a"), 2547215809758359949),
        (("b1", "a", 1), 1787662614237959094),
        (("daily-2026-01-01", "päivä/1.png", 2), 2409377194756264402),
    ],
)
def test_a_seed_is_the_same_for_ever(arguments, seed):
    assert seed_for(*arguments) == seed


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 5))
def test_a_seed_fits_63_bits(batch_id, custom_id, respin):
    assert 0 <= seed_for(batch_id, custom_id, respin) < 2**63


@given(
    st.lists(
        st.tuples(st.text("ab1", max_size=3), st.text("ab1", max_size=3), st.integers(0, 12)), unique=True
    )
)
def test_different_items_get_different_seeds(triples):
    assert len({seed_for(*triple) for triple in triples}) == len(triples)


def test_params_follow_the_slowest_stage_and_the_one_that_limits():
    params = decide_params(
        "f", "A_C", min_chunk_s=10, max_chunk_s=900, seconds_per_item={"generate": 2.0, "inspect": 3.0}
    )
    assert params.seconds_per_item == 3.0
    assert params.servers == STAGES["generate"].servers  # 2.0 / 1 server is slower than 3.0 / 2 servers
    assert (params.min_items, params.cap_items) == (4, 300)
    assert params.last_items == (2 if params.servers > 1 else 4)
    assert params.models == {name: STAGES[name].model for name in ("generate", "inspect")}
    assert Params.model_validate_json(params.model_dump_json()) == params


@given(st.floats(0.001, 100), st.sampled_from(list(FLOWS)))
def test_no_server_is_cut_off_only_because_it_is_slow(rate, flow):
    params = decide_params(
        "f", flow, min_chunk_s=1, max_chunk_s=10**6, seconds_per_item=dict.fromkeys(STAGES, rate)
    )
    for stage in (STAGES[name] for name in FLOWS[flow].stages):
        lanes = stage.lanes_per_server
        budget_s = time_budget_s(params.cap_items, rate, lanes, stage.chunk_timeout_s)
        assert budget_s >= params.cap_items * SLOWEST * rate * lanes


@pytest.mark.parametrize(("servers", "k"), [(1, 4), (2, 12), (10, 12)])
def test_a_server_alone_needs_fewer_chunks_than_unequal_ones(servers, k):
    params = decide_params("f", "A", min_chunk_s=1, max_chunk_s=900, servers={"generate": servers})
    assert (params.servers, params.k) == (servers, k)


@given(st.floats(0.001, 1e5), st.floats(0, 1e4), st.floats(0.1, 1e4), st.sampled_from(list(FLOWS)))
def test_params_always_allow_a_cut(rate, min_chunk_s, max_chunk_s, flow):
    rates = dict.fromkeys(STAGES, rate)
    params = decide_params(
        "f",
        flow,
        min_chunk_s=min_chunk_s,
        max_chunk_s=max_chunk_s,
        seconds_per_item=rates,
        servers={"enhance": 0},
    )
    assert 1 <= params.min_items <= params.cap_items
    assert sum(chunk_sizes(9, params.servers, params.k, params.min_items, params.cap_items)) == 9


@given(st.integers(1, 10**6), st.floats(1e-3, 1e3), st.integers(1, 4), st.floats(1, 1e5))
def test_a_budget_ends_before_airflow_would_end_the_task(n_items, rate, lanes, timeout_s):
    assert 0 < time_budget_s(n_items, rate, lanes, timeout_s) <= 0.9 * timeout_s


@given(st.integers(1, 10**4), st.floats(1e-3, 1e3), st.integers(1, 4))
def test_a_slow_server_ends_its_chunk_in_its_budget_though_its_lanes_share_it(n_items, rate, lanes):
    budget_s = time_budget_s(n_items, rate, lanes, timeout_s=10**9)
    assert budget_s > n_items * SLOWEST * rate * lanes


rates = st.dictionaries(st.text(max_size=3), st.floats(1e-3, 1e3), min_size=1, max_size=20)


@given(rates)
def test_an_average_server_is_one_of_as_many_equal_ones_that_do_the_same_together(rates):
    average_s = average_seconds_per_item(rates)
    assert min(rates.values()) * 0.999 <= average_s <= max(rates.values()) * 1.001
    assert len(rates) / average_s == pytest.approx(sum(1 / rate for rate in rates.values()))


def test_there_is_no_average_of_no_server():
    with pytest.raises(ValueError, match="no rates"):
        average_seconds_per_item({})


def test_a_chunk_of_a_very_fast_stage_still_fits_into_memory():
    rates = dict.fromkeys(STAGES, 0.0001)
    params = decide_params("f", "A_C", min_chunk_s=10, max_chunk_s=900, seconds_per_item=rates)
    assert params.cap_items == params.min_items == 10_000
