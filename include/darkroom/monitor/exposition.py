"""The plant in Prometheus' words: names, units and labels of all that `/darkroom/metrics` tells. Pure.

Labels are bounded by how the plant is built: stage, host, server, state, outcome, code; never a batch or an
item.
Source: https://prometheus.io/docs/practices/naming/
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from darkroom import __version__
from darkroom.live.totals import BATCH_ITEMS, BEYOND, CHUNK_S
from darkroom.serving.status import GpuStatus
from darkroom.views.overview import Overview, ServerNow, StageNow

Totals = Mapping[tuple[str, str, str], float]
"""As `totals.Totals.read` gives them: by name, stage and label."""
_MB = 1_000_000
_Key = TypeVar("_Key", bound=tuple[str, ...])
"""The values of a metric's labels."""
_OF_A_STAGE: Final[tuple[tuple[str, str, Callable[[StageNow], float | None]], ...]] = (
    ("darkroom_items_waiting", "Items in front of a stage", lambda one: one.items_waiting),
    ("darkroom_items_in_flight", "Items of running chunks that are not finished with",
     lambda one: one.items_in_flight),
    ("darkroom_items_remaining", "Items that a stage has still to finish with",
     lambda one: one.items_remaining),
    ("darkroom_utilisation_ratio", "Share of the last minute in which the ready servers computed",
     lambda one: one.utilisation),
    ("darkroom_wait_expected_seconds", "How long a chunk that comes now will wait, by Little's law",
     lambda one: one.wait.expected_s),
    ("darkroom_wait_measured_seconds", "How long the chunks that run now have waited",
     lambda one: one.wait.measured_s),
    ("darkroom_wait_longest_seconds", "How long the chunk that waits longest has waited",
     lambda one: one.wait.longest_s),
    ("darkroom_stage_time_left_seconds", "Until the stage has done its work, if it alone counted",
     lambda one: one.time_left_s),
)  # fmt: skip
_OF_A_GPU: Final[tuple[tuple[str, str, Callable[[GpuStatus], float]], ...]] = (
    ("darkroom_gpu_temperature_celsius", "Of a GPU", lambda gpu: gpu.temperature_c),
    ("darkroom_gpu_memory_used_bytes", "Of a GPU", lambda gpu: gpu.memory_used_mb * _MB),
    ("darkroom_gpu_memory_size_bytes", "Of a GPU", lambda gpu: gpu.memory_total_mb * _MB),
)


@dataclass(frozen=True, slots=True)
class Around:
    """What is asked beside the look at the plant."""

    beats: Mapping[str, float] = field(default_factory=dict)
    """When each kind of Airflow's processes beat last, in epoch seconds."""
    late: int = 0
    """Batches whose deadline has passed, and that go on."""
    store_up: bool = True
    store_free_bytes: int | None = None
    """None: a store without walls."""
    store_size_bytes: int | None = None


def exposed(plant: Overview, totals: Totals, around: Around, accept: str = "") -> tuple[bytes, str]:
    """The body and its content type, as `accept` would like it: Prometheus' text, or OpenMetrics."""
    encode, content_type = choose_encoder(accept)
    families = [*_whole(plant, around), *_stages(plant.stages), *_servers(plant.servers), *_totals(totals)]
    return encode(_Collected(families)), content_type


@dataclass(frozen=True, slots=True)
class _Collected:
    """What the encoder takes for a registry."""

    families: Sequence[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


def _whole(plant: Overview, around: Around) -> Iterator[Metric]:
    yield _gauge("darkroom_build_info", "1; the version is its label", {(__version__,): 1}, "version")
    yield _one("darkroom_redis_up", "Whether Redis answers, where the plant's live numbers are",
               "redis" not in plant.unknown)  # fmt: skip
    yield _one("darkroom_broker_up", "Whether Celery's broker answers", "broker" not in plant.unknown)
    yield _one("darkroom_store_up", "Whether the object storage answers", around.store_up)
    if around.store_free_bytes is not None and around.store_size_bytes is not None:
        yield _one("darkroom_store_free_bytes", "Free on the disk of the store", around.store_free_bytes)
        yield _one("darkroom_store_size_bytes", "The disk of the store", around.store_size_bytes)
    yield _gauge("darkroom_airflow_heartbeat_timestamp_seconds", "When a process of this kind beat last",
                 {(process,): at for process, at in around.beats.items()}, "process")  # fmt: skip
    states: dict[tuple[str, ...], float] = {}
    for batch in plant.batches:
        if batch.ended is None:
            states[batch.outlook.state,] = states.get((batch.outlook.state,), 0) + 1
    if plant.batches_left_out:
        states["running",] = states.get(("running",), 0) + plant.batches_left_out
    yield _gauge("darkroom_batches", "Batches that have not ended", states, "state")
    yield _one("darkroom_batches_late", "Batches whose deadline has passed, and that go on", around.late)
    if plant.last_progress is not None:
        yield _one("darkroom_last_progress_timestamp_seconds", "When a chunk told of itself last",
                   plant.last_progress)  # fmt: skip
    if plant.bottleneck.time_left_s is not None:
        yield _one("darkroom_time_left_seconds", "Until the batches that are running end",
                   plant.bottleneck.time_left_s)  # fmt: skip
    yield _one("darkroom_look_seconds", "What this look at the plant cost", plant.took_s)
    # All that it could be, so that an alert sees a 0 where it was a 1.
    limits = {(kind, stage.stage): 0.0 for kind in ("stage", "no_server") for stage in plant.stages}
    limits["plant", ""] = 0.0
    if (kind := plant.bottleneck.kind) != "none":
        limits[kind, "" if kind == "plant" else plant.bottleneck.stage or ""] = 1.0
    yield _gauge("darkroom_bottleneck", "1 for what the running batches wait for", limits, "kind", "stage")


def _stages(stages: Sequence[StageNow]) -> Iterator[Metric]:
    lanes, chunks = {}, {}
    for one in stages:
        for state in ("busy", "idle", "fenced"):
            lanes[one.stage, state] = float(getattr(one.lanes, state))
        for state in ("scheduler", "broker", "put_back", "paused"):
            chunks[one.stage, state] = float(getattr(one.waiting, state))
        chunks[one.stage, "running"] = float(one.running)
    yield _gauge("darkroom_lanes", "Worker slots that feed servers", lanes, "stage", "state")
    yield _gauge("darkroom_chunks", "Chunks that have not ended, by where they are",
                 chunks, "stage", "state")  # fmt: skip
    for name, what, of in _OF_A_STAGE:
        known = {(one.stage,): float(value) for one in stages if (value := of(one)) is not None}
        yield _gauge(name, what, known, "stage")


def _servers(servers: Sequence[ServerNow]) -> Iterator[Metric]:
    counts: dict[tuple[str, ...], float] = {}
    for one in servers:
        # Of the host, a 0 for what is not so: an alert on a fence ends with it, and not with the series.
        for state in ("ready", "fenced", one.state):
            counts.setdefault((one.stage, one.host, state), 0)
        counts[one.stage, one.host, one.state] += 1
    yield _gauge("darkroom_servers", "Model servers that told of themselves lately", counts,
                 "stage", "host", "state")  # fmt: skip
    memory = {(one.stage, one.host, one.name): float(one.memory_mb * _MB) for one in servers}
    limit = {(one.stage, one.host, one.name): float(one.memory_limit_mb * _MB) for one in servers}
    labels = ("stage", "host", "server")
    yield _gauge("darkroom_server_memory_bytes", "That a server takes on its device", memory, *labels)
    yield _gauge("darkroom_server_memory_limit_bytes", "Beyond which it is replaced", limit, *labels)
    starts = {(one.stage, one.host, one.name): float(one.starts) for one in servers}
    yield _gauge("darkroom_server_starts", "Of its process, since its supervisor started", starts, *labels)
    gpus = {(one.host, str(one.gpu.index)): one.gpu for one in servers if one.gpu is not None}
    for name, what, of_gpu in _OF_A_GPU:
        yield _gauge(name, what, {key: float(of_gpu(gpu)) for key, gpu in gpus.items()}, "host", "gpu")


def _totals(totals: Totals) -> Iterator[Metric]:
    for counter, name, what, labels in (
        ("items", "darkroom_items", "Items that a stage has finished with, by outcome", ("outcome",)),
        ("errors", "darkroom_item_errors", "Items that failed, by their error's code", ("code",)),
        ("found", "darkroom_items_found", "Items whose picture existed already", ()),
        ("computed", "darkroom_items_computed", "Items that a model was asked for", ()),
        ("model_s", "darkroom_model_seconds", "Time that models computed on items", ()),
        ("wasted_tries", "darkroom_wasted_tries", "Requests before the one that counted", ()),
        ("wasted_s", "darkroom_wasted_seconds", "Model time of requests before the one that counted", ()),
        ("chunks", "darkroom_chunks_ended", "Tries of chunks, by how they ended", ("how",)),
    ):  # fmt: skip
        family = CounterMetricFamily(name, what, labels=("stage", *labels))
        for (kind, stage, label), value in sorted(totals.items()):
            if kind == counter:
                family.add_metric([stage, label] if labels else [stage], value)
        yield family
    yield _histogram("darkroom_batch_items", "Items that a lane sent together and the model computed",
                     totals, "batch_items", BATCH_ITEMS, "computed")  # fmt: skip
    yield _histogram("darkroom_chunk_seconds", "From a chunk's begin on its lane to its part",
                     totals, "chunk_s", CHUNK_S, "chunks_s")  # fmt: skip


def _histogram(name: str, what: str, totals: Totals, kind: str, bounds: Sequence[int], sum_of: str) -> Metric:
    family = HistogramMetricFamily(name, what, labels=["stage"])
    names = [*map(str, bounds), BEYOND]
    for stage in sorted({stage for counter, stage, _ in totals if counter == kind}):
        counts = accumulate(totals.get((kind, stage, bound), 0.0) for bound in names)
        buckets = [
            (bound if bound == BEYOND else str(float(bound)), n)
            for bound, n in zip(names, counts, strict=True)
        ]
        family.add_metric([stage], buckets, sum_value=totals.get((sum_of, stage, ""), 0.0))
    return family


def _gauge(name: str, what: str, values: Mapping[_Key, float], *labels: str) -> Metric:
    family = GaugeMetricFamily(name, what, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _one(name: str, what: str, value: float) -> Metric:
    return _gauge(name, what, {(): float(value)})
