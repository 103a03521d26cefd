"""What the board weighs, and what a redraw costs, with 1,000 lanes and 100 batches: `python -m bench.board`.

The page in Chromium over a plant that is made up, every number of which changes with every look: the worst
case. What a look costs the api-server is measured by `bench.look`.
"""

import gzip
import json
import shutil
import statistics
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.report import save

SERVERS, LANES, BATCHES, SLOTS, LOOKS = 500, 2, 100, 90, 15
_STAGES = ("generate", "inspect")


def plant(seed: int, servers: int = SERVERS, batches: int = BATCHES) -> dict[str, Any]:
    """What `/darkroom/api/plant` would tell at the `seed`-th look; it is checked against its models."""
    from darkroom.views.overview import Overview

    now = 1_760_000_000.0 + 2 * seed
    what_if = {
        "servers": 3,
        "time_left_s": 100 + seed,
        "change": -0.4,
        "wait_s": 12.5,
        "bottleneck": "generate",
    }
    quantiles = {"count": 500, "p50": 1.1 + seed / 100, "p95": 2.5}
    told = {
        "seen": now, "took_s": 0.1, "unknown": [], "slot_s": 20, "batches_left_out": 0,
        "slots": [now - 20 * n for n in range(SLOTS, 0, -1)],
        "bottleneck": {
            "kind": "stage", "stage": "inspect", "chunks_waiting": 14 + seed, "servers": servers // 2,
            "utilisation": 0.98, "time_left_s": 200.0 + seed,
            "sentence": f"inspect is the bottleneck: {14 + seed} chunks wait; one more helps.",
        },
        "stages": [
            {
                "stage": stage, "summary": "a model at work", "model": "shapes@1", "running": servers // 2,
                "servers": {"ready": servers // 2, "fenced": 1, "other": 0}, "items_waiting": 4000 + seed,
                "lanes": {"busy": servers // 2, "idle": servers // 2, "fenced": 2}, "items_in_flight": 500,
                "waiting": {"scheduler": 14 + seed, "broker": 2, "put_back": 1, "paused": 0},
                "items_remaining": 9000 - seed, "items_per_s_in": 3.5 + seed / 10, "items_per_s_out": 3.1,
                "seconds_per_item": 1.0, "item_s": quantiles, "chunk_s": quantiles, "utilisation": 0.98,
                "wait": {"expected_s": 40.0 + seed, "measured_s": 33.0, "longest_s": 70.0}, "why_none": "",
                "time_left_s": 180.0 + seed, "fewer": what_if, "more": what_if,
            }
            for stage in _STAGES
        ],
        "batches": [_batch(f"batch-{n}", seed, now) for n in range(batches)],
        "servers": [
            {
                "server": f"{stage}-{n}@box{n % 100}", "name": f"{stage}-{n}", "host": f"box{n % 100}",
                "stage": stage, "model": "shapes@1", "since": now - 99,
                "state": "fenced" if n == 7 else "ready",
                "reason": "", "last_end": "", "starts": 1, "lanes": LANES, "device": "cuda:0", "errors": [],
                "chunks": [{"batch_id": f"batch-{n % 100}", "chunk_id": f"{seed:05d}"}] * ((n + seed) % 3),
                "items_per_s": 0.5 + (seed + n) % 7 / 10, "usual_items_per_s": 0.8, "told": now,
                "gpu": {"index": 0, "uuid": "x", "name": "NVIDIA H200", "temperature_c": 50 + seed % 9,
                        "memory_used_mb": 9000, "memory_total_mb": 143000, "xid_errors": []},
                "memory_mb": 9000 + seed, "memory_limit_mb": 16000, "canary_s": 0.1,
            }
            for stage in _STAGES for n in range(servers // 2)
        ],
        "pictures": [],
    }  # fmt: skip
    return Overview.model_validate(told).model_dump(mode="json")


def _batch(name: str, seed: int, now: float) -> dict[str, Any]:
    stage = {
        "planned": 6400, "done": 1000 + seed, "rejected": 3, "failed": 1, "in_flight": 64, "again": 0,
        "remaining": 5000 - seed, "items_per_s": 3.2, "waits": "",
    }  # fmt: skip
    host = {
        "done": 100 + seed, "rejected": 0, "failed": 0, "in_flight": 4, "items_per_s": 0.4, "share": 0.1,
        "seconds_per_item": 1.1, "doing": "chunk 00042", "updated": now,
    }  # fmt: skip
    return {
        "outlook": {
            "batch_id": name, "flow": "A_C", "state": "running", "items": 6400, "rejects": 0, "chunks": 64,
            "shards": 1, "round": 0, "begun": now - 600, "seen": now,
            "stages": [{"stage": one, **stage} for one in _STAGES],
            "hosts": [{"host": f"inspect-{n}@box{n}", "stage": "inspect", **host} for n in range(10)],
            "time_left_s": {"seconds": 900.0 - seed, "low": 700.0, "high": 1200.0},
        },
        "hosts_left_out": 40, "waits": [], "run_id": name, "run_state": "running", "ended": None,
        "items_per_s": {one: [(n * 7 + seed) % 40 / 10 for n in range(SLOTS)] for one in _STAGES},
    }  # fmt: skip


class _Plant(BaseHTTPRequestHandler):
    looks = 0

    def do_GET(self) -> None:
        """The page, its parts, and another plant each time it is asked for."""
        from darkroom.monitor import board

        if self.path == "/":
            self._answer("text/html", board.page(["start", "fence"]).encode())
        elif self.path == "/api/plant":
            _Plant.looks += 1
            self._answer(
                "application/json", gzip.compress(json.dumps(plant(_Plant.looks)).encode(), 1), packed=True
            )
        elif (name := self.path.rpartition("/")[2]) in board.parts():
            kind = "text/css" if name.endswith(".css") else "text/javascript"
            self._answer(kind, board.packed(name), packed=True)
        else:  # Airflow's icon
            self.send_error(404)

    def _answer(self, kind: str, body: bytes, packed: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    """Open the board and let it draw."""
    from playwright.sync_api import sync_playwright

    from darkroom.monitor import board

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Plant)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        drawn = "performance.getEntriesByName('draw').map(one => one.duration)"
        page.wait_for_function(f"({drawn}).length >= 1")
        before, begun = _busy_s(devtools), time.monotonic()
        page.wait_for_function(f"({drawn}).length >= {LOOKS + 1}", timeout=120_000)
        busy_s, wall_s = _busy_s(devtools) - before, time.monotonic() - begun
        took_ms = page.evaluate(drawn)
        nodes = page.evaluate("document.querySelectorAll('*').length")
        lanes = page.locator("#stages .lanes .lane").count()
        chromium.close()
    server.shutdown()
    assert lanes == SERVERS * LANES
    body = json.dumps(plant(1)).encode()
    save("board", {
        "servers": SERVERS, "lanes": lanes, "batches": BATCHES, "elements": nodes, "looks": LOOKS,
        "page, bytes": len(board.page([])), "its parts, bytes": sum(map(len, board.parts().values())),
        "its parts, bytes packed": sum(len(board.packed(name)) for name in board.parts()),
        "a look, bytes": len(body), "a look, bytes packed": len(gzip.compress(body, 1)),
        "first draw, ms": round(took_ms[0], 1),
        "redraw of all, ms, median": round(statistics.median(took_ms[1:]), 1),
        "redraw of all, ms, longest": round(max(took_ms[1:]), 1),
        "main thread, share of its time": round(busy_s / wall_s, 4),
        "main thread, ms a look, with layout and painting": round(1000 * busy_s / LOOKS, 1),
    })  # fmt: skip


def _busy_s(devtools: Any) -> float:
    told = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in told if one["name"] == "TaskDuration"))


if __name__ == "__main__":
    main()
