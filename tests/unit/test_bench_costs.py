"""The arithmetic of the benchmarks of unequal machines and of orchestration; how they hear of loops."""

import math
from collections import Counter
from functools import partial

import pytest
from bench.loop_times import METRIC, LoopTimes, quantile, receiver, upper_bounds
from bench.orchestration import per_chunk
from bench.process_costs import kind_of, used_s
from bench.server_trace import Ran, losses, read_traces
from bench.unequal import SPEEDS, lower_bound_s, shares
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

times_ms = st.lists(st.floats(0.1, 100_000), min_size=1, max_size=50)


@given(times_ms, st.floats(0.01, 1))
def test_a_quantile_has_its_share_of_the_values_at_or_below_it(values, share):
    bounds = Counter(values)
    found = quantile(bounds, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert found in bounds


def test_no_values_have_no_quantile():
    assert quantile(Counter(), 0.95) == 0


@given(st.integers(0, 10), st.integers(-200, 200))
def test_the_buckets_of_an_exponential_histogram_grow_by_its_base(scale, offset):
    first, second = upper_bounds(scale, offset, [1, 0, 2]), upper_bounds(scale, offset + 1, [3])
    assert list(first.values()) == [1, 2]
    assert math.isclose(next(iter(second)) / next(iter(first)), 2 ** (2**-scale))


def test_the_receiver_understands_what_opentelemetry_sends(monkeypatch):
    with receiver() as (times, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=math.inf)
        view = View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
        provider = MeterProvider(metric_readers=[reader], views=[view])
        histogram = provider.get_meter("test").create_histogram(f"airflow.{METRIC}")
        send = partial(_send, provider, histogram)
        send(10, 20, 30)
        send(40)
        first = times.figures()
        times.clear()
        send(100)
        provider.shutdown()
        assert (first["loops"], first["mean, ms"], first["longest, ms"]) == (4, 25, 40)
        assert first["p95, ms"] == 40
        assert times.figures() == {"loops": 1, "mean, ms": 100, "p95, ms": 100, "longest, ms": 100}


def _send(provider, histogram, *values):
    for value in values:
        histogram.record(value)
    assert provider.force_flush()


def test_no_loops_give_zeros():
    assert set(LoopTimes().figures().values()) == {0}


def test_the_lower_bound_is_the_work_over_the_sum_of_speeds():
    assert lower_bound_s(75, 0.2) == pytest.approx(2)


def test_a_server_has_its_share_of_the_items_and_of_the_speed():
    told = shares({f"{name}@box": (int(100 * speed), 20.0) for name, speed in SPEEDS.items()})
    assert all(server["share"] == server["share of speed"] for server in told.values())
    assert told["generate-1"]["seconds per item"] == 0.05


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("worker-generate-1", "workers, chunks"),
        ("worker-now", "workers, chunks"),
        ("worker-default", "worker, light tasks"),
        ("server-generate-1", "server"),
        ("api-server", "api-server"),
        ("dag-processor", "dag-processor"),
        ("scheduler", "scheduler"),
    ],
)
def test_parts_are_told_by_kind(part, kind):
    assert kind_of(part) == kind


def test_cpu_time_counts_without_servers_and_without_what_is_used_idle():
    before = {"scheduler": 1.0, "server-generate-1": 5.0, "worker-generate-1": 0.0, "worker-generate-2": 0.0}
    after = {"scheduler": 5.0, "server-generate-1": 99.0, "worker-generate-1": 2.0, "worker-generate-2": 3.0}
    used = used_s(before, after, {"scheduler": 0.1}, 10)
    assert used == {"scheduler": pytest.approx(3), "workers, chunks": pytest.approx(5)}


def test_the_same_items_in_more_chunks_tell_what_a_chunk_costs():
    large = {"items": 3600, "chunks": 20, "CPU, s": 30.0}
    small = {"items": 3600, "chunks": 180, "CPU, s": 190.0}
    told = per_chunk(large, small)
    assert told["per chunk, s"] == 1
    assert told["of it per item at 180, ms"] == pytest.approx(5.56)
    assert told["all per item at 180, ms"] == pytest.approx(8.33)


ITEM_S = {"fast": 0.1, "slow": 0.4}


@given(
    st.lists(st.tuples(st.sampled_from(list(ITEM_S)), st.floats(0, 90), st.integers(1, 8)), max_size=20),
    st.integers(1, 200),
)
def test_what_a_batch_lost_adds_up_to_its_excess(ran, items):
    traces = {server: [] for server in ITEM_S}
    for server, begun, count in sorted(ran, key=lambda one: one[1]):
        begun_after = max([begun, *(one.ended for one in traces[server])])
        traces[server].append(Ran(begun_after, begun_after + 1.1 * count * ITEM_S[server], count))
    ended = max([100.0, *(one.ended for trace in traces.values() for one in trace)])
    bound_s = items / sum(1 / seconds for seconds in ITEM_S.values())
    lost = losses(traces, ITEM_S, items, 0, ended)
    assert sum(lost.values()) == pytest.approx(ended / bound_s - 1, abs=1e-3)


def test_a_fleet_that_works_all_the_time_loses_nothing():
    traces = {"fast": [Ran(5, 9, 40)], "slow": [Ran(1, 2, 9), Ran(5, 9, 10)]}
    assert set(losses(traces, ITEM_S, 50, 5, 9).values()) == {0}


def test_a_trace_belongs_to_the_server_whose_pace_it_has(tmp_path):
    (tmp_path / "generate-11").write_text("[9, 9.001, 1]\n[5, 6.7, 4]\n[1, 2.7, 4]\n[3, 4.")
    (tmp_path / "generate-12").write_text("[1, 1.41, 4]\n")
    (tmp_path / "generate-13").write_text("[9, 9.001, 1]\n")
    (tmp_path / "inspect-14").write_text("[1, 1.4, 4]\n")
    traces = read_traces(tmp_path, "generate", ITEM_S)
    assert traces == {"fast": [Ran(1, 1.41, 4)], "slow": [Ran(1, 2.7, 4), Ran(5, 6.7, 4)]}
