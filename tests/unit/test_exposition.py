"""What Prometheus is told, as its own parser reads it."""

import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from darkroom.monitor.exposition import Around, exposed
from darkroom.overview import (
    Bottleneck,
    Lanes,
    Overview,
    ServerNow,
    Servers,
    StageNow,
    Wait,
    Waiting,
    WhatIf,
)
from darkroom.serving.status import GpuStatus

ANSWER = WhatIf(servers=3, time_left_s=60.0, change=-0.3, wait_s=1.0, bottleneck="generate")
TOTALS = {
    ("items", "inspect", "completed"): 40.0,
    ("items", "inspect", "rejected"): 2.0,
    ("errors", "generate", "stage_failed"): 1.0,
    ("model_s", "generate", ""): 12.5,
    ("computed", "generate", ""): 40.0,
    ("batch_items", "generate", "4"): 8.0,
    ("batch_items", "generate", "8"): 1.0,
    ("chunks", "generate", "ended"): 3.0,
    ("chunk_s", "generate", "5"): 2.0,
    ("chunk_s", "generate", "+Inf"): 1.0,
    ("chunks_s", "generate", ""): 4009.5,
    ("of_a_later_version", "generate", "x"): 1.0,
}


def stage(name, **fields):
    usual = {
        "stage": name, "summary": "s", "model": "m",
        "servers": Servers(ready=1, fenced=1, other=0), "lanes": Lanes(busy=2, idle=0, fenced=2),
        "waiting": Waiting(scheduler=14, broker=1, put_back=0, paused=0), "running": 2,
        "items_waiting": 100, "items_in_flight": 8, "items_remaining": 108,
        "items_per_s_in": 2.0, "items_per_s_out": 1.0, "seconds_per_item": 0.5,
        "item_s": None, "chunk_s": None, "utilisation": 0.98,
        "wait": Wait(expected_s=100.0, measured_s=90.0, longest_s=None),
        "why_none": "", "time_left_s": 108.0, "fewer": None, "more": ANSWER,
    }  # fmt: skip
    return StageNow(**usual | fields)


def server(name, state, **fields):
    usual = {
        "server": f"{name}@h1", "name": name, "host": "h1", "stage": "inspect", "model": "m", "state": state,
        "since": 1.0, "reason": "", "last_end": "", "starts": 2, "lanes": 2, "chunks": [],
        "items_per_s": 1.0, "usual_items_per_s": None, "errors": [], "device": "cuda:0", "gpu": None,
        "memory_mb": 500, "memory_limit_mb": 1500, "canary_s": None, "told": 1.0,
    }  # fmt: skip
    return ServerNow(**usual | fields)


def plant(**fields):
    gpu = GpuStatus(
        index=0, uuid="GPU-1", name="H200", temperature_c=61, memory_used_mb=10, memory_total_mb=100,
        xid_errors=[],
    )  # fmt: skip
    usual = {
        "seen": time.time(), "took_s": 0.01, "unknown": [],
        "bottleneck": Bottleneck(
            kind="stage", stage="inspect", sentence="inspect is the bottleneck", chunks_waiting=14, servers=2,
            utilisation=0.98, time_left_s=108.0,
        ),
        "stages": [stage("generate", utilisation=None), stage("inspect")],
        "batches": [], "batches_left_out": 7,
        "servers": [server("inspect-1", "ready", gpu=gpu), server("inspect-2", "fenced")],
        "slots": [], "slot_s": 20.0, "pictures": [],
    }  # fmt: skip
    return Overview(**usual | fields)


def read(accept="", **fields):
    around = fields.pop("around", Around(beats={"scheduler": 1.5}, late=3, store_free_bytes=10,
                                         store_size_bytes=100))  # fmt: skip
    body, content_type = exposed(plant(**fields), TOTALS, around, accept)
    parse = openmetrics if "openmetrics" in content_type else text_format
    families = list(parse(body.decode()))
    samples = {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}
    return families, samples


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
