"""How long the scheduler's loops take: Airflow's own metric, taken from OpenTelemetry by a small receiver.

Airflow sends `scheduler.scheduler_loop_duration` as an exponential histogram of milliseconds; without the
sleep between two loops. Source: https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

METRIC = "scheduler.scheduler_loop_duration"
EXPORT_S = 5.0


@dataclass
class LoopTimes:
    """Loops told of since the last `clear`."""

    count: int = 0
    sum_ms: float = 0.0
    longest_ms: float = 0.0
    bounds: Counter[float] = field(default_factory=Counter)
    """Upper bound of a bucket, in milliseconds, to the loops in it."""

    def clear(self) -> None:
        """Begin a new measurement."""
        self.count, self.sum_ms, self.longest_ms = 0, 0.0, 0.0
        self.bounds.clear()

    def add(self, point: Any) -> None:
        """A data point of the histogram, which tells of the loops since the one before."""
        self.count += point.count
        self.sum_ms += point.sum
        self.longest_ms = max(self.longest_ms, point.max)
        self.bounds.update(
            upper_bounds(point.scale, point.positive.offset, list(point.positive.bucket_counts))
        )

    def figures(self) -> dict[str, float]:
        """What came of it."""
        return {
            "loops": self.count,
            "mean, ms": round(self.sum_ms / self.count, 1) if self.count else 0.0,
            "p95, ms": round(min(quantile(self.bounds, 0.95), self.longest_ms), 1),
            "longest, ms": round(self.longest_ms, 1),
        }


def upper_bounds(scale: int, offset: int, counts: list[int]) -> dict[float, int]:
    """The buckets of an exponential histogram by their upper bounds, the empty ones left out."""
    base = 2.0 ** (2.0**-scale)
    return {base ** (offset + place + 1): count for place, count in enumerate(counts) if count}


def quantile(bounds: Counter[float], share: float) -> float:
    """The smallest upper bound that at least `share` of all values lie below; 0 of none."""
    left = share * bounds.total()
    for bound in sorted(bounds):
        left -= bounds[bound]
        if left <= 1e-9:
            return bound
    return 0.0


@contextmanager
def receiver() -> Iterator[tuple[LoopTimes, dict[str, str]]]:
    """What is told, as it comes in, and the environment that makes a plant tell it."""
    times, lock = LoopTimes(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
                ExportMetricsServiceRequest,
            )

            told = ExportMetricsServiceRequest.FromString(
                self.rfile.read(int(self.headers["Content-Length"]))
            )
            metrics = [m for r in told.resource_metrics for scope in r.scope_metrics for m in scope.metrics]
            with lock:
                for metric in metrics:
                    if metric.name.endswith(METRIC):
                        for point in metric.exponential_histogram.data_points:
                            times.add(point)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: it would come every few seconds."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield times, _environment(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def _environment(port: int) -> dict[str, str]:
    overrides = {"metrics.otel_on": "True", "metrics.metrics_allow_list": METRIC}
    return {
        "DARKROOM_AIRFLOW_OVERRIDES": json.dumps(overrides),
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{port}/v1/metrics",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
        "OTEL_METRIC_EXPORT_INTERVAL": str(round(1000 * EXPORT_S)),
    }
