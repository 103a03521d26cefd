"""A plant, told to Prometheus and read back by its own parsers."""

import time

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from darkroom.monitor.exposition import Around, exposed
from darkroom.serving.status import GpuStatus
from darkroom.views.overview import (
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
