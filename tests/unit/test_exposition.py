"""What Prometheus is told, as its own parser reads it."""

import pytest
from tests.unit.exposed import read, server

from darkroom.monitor.exposition import Around


def test_what_is_told_is_read_by_prometheus_own_parser_in_both_formats():
    _, plain = read()
    _, other = read("application/openmetrics-text; version=1.0.0")
    assert plain == other
    assert plain["darkroom_items_waiting", ("stage", "inspect")] == 100
    assert plain["darkroom_chunks", ("stage", "inspect"), ("state", "scheduler")] == 14
    assert plain["darkroom_wait_measured_seconds", ("stage", "inspect")] == 90
    assert plain["darkroom_batches", ("state", "running")] == 7
    assert plain["darkroom_airflow_heartbeat_timestamp_seconds", ("process", "scheduler")] == 1.5
    assert plain["darkroom_gpu_temperature_celsius", ("gpu", "0"), ("host", "h1")] == 61
    assert (
        plain["darkroom_server_memory_bytes", ("host", "h1"), ("server", "inspect-1"), ("stage", "inspect")]
        == 5e8
    )


def test_counters_are_counters_and_what_a_later_version_counts_is_left_out():
    families, samples = read()
    assert samples["darkroom_items_total", ("outcome", "completed"), ("stage", "inspect")] == 40
    assert samples["darkroom_item_errors_total", ("code", "stage_failed"), ("stage", "generate")] == 1
    kinds = {family.name: family.type for family in families}
    for name in ("darkroom_items", "darkroom_model_seconds", "darkroom_chunks_ended"):
        assert kinds[name] == "counter"
    assert not any("later" in name for name, *_ in samples)


def test_histograms_add_up_to_the_last_bucket():
    _, samples = read()
    buckets = {labels[0][1]: value for (name, *labels), value in samples.items()
               if name == "darkroom_batch_items_bucket"}  # fmt: skip
    assert buckets["2.0"] == 0 and buckets["4.0"] == 8 and buckets["8.0"] == buckets["+Inf"] == 9
    assert samples["darkroom_batch_items_count", ("stage", "generate")] == 9
    assert samples["darkroom_batch_items_sum", ("stage", "generate")] == 40
    assert samples["darkroom_chunk_seconds_sum", ("stage", "generate")] == 4009.5


def test_what_is_not_so_is_a_0_so_that_an_alert_on_it_ends():
    _, samples = read()
    fenced = [("host", "h1"), ("stage", "inspect"), ("state", "fenced")]
    assert samples["darkroom_servers", *fenced] == 1
    _, samples = read(servers=[server("inspect-1", "ready")])
    assert samples["darkroom_servers", *fenced] == 0
    assert samples["darkroom_bottleneck", ("kind", "stage"), ("stage", "inspect")] == 1
    assert samples["darkroom_bottleneck", ("kind", "stage"), ("stage", "generate")] == 0
    assert samples["darkroom_bottleneck", ("kind", "plant"), ("stage", "")] == 0


@pytest.mark.parametrize(
    ("unknown", "name"), [("redis", "darkroom_redis_up"), ("broker", "darkroom_broker_up")]
)
def test_what_does_not_answer_is_down(unknown, name):
    assert read()[1][name,] == 1
    assert read(unknown=[unknown])[1][name,] == 0


def test_what_is_not_known_is_not_told():
    _, samples = read(around=Around(store_up=False))
    assert samples["darkroom_store_up",] == 0
    names = {name for name, *_ in samples}
    assert not {"darkroom_store_free_bytes", "darkroom_last_progress_timestamp_seconds"} & names
    assert ("darkroom_utilisation_ratio", ("stage", "generate")) not in samples
    assert read(last_progress=1e9)[1]["darkroom_last_progress_timestamp_seconds",] == 1e9


def test_no_label_is_a_batch_or_an_item():
    allowed = {
        "stage",
        "host",
        "server",
        "state",
        "outcome",
        "code",
        "how",
        "kind",
        "process",
        "gpu",
        "le",
        "version",
    }
    families, samples = read()
    assert {label for _, *labels in samples for label, _ in labels} <= allowed
    assert all(family.documentation for family in families)
