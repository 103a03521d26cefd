"""What open boards cost a plant: CPU of its api-server, Valkey and PostgreSQL with 0, 1 and 10 of them.

`python -m bench.boards [SECONDS]` starts a plant of its own, some ten minutes at 30 seconds a window: first
with one batch at work, then filled up to 1,000 lanes, 100 running batches and 12,800 chunks, so that every
look reads as much as in such a plant. Nothing runs then: image_flow is paused. A board is what the page
does: it loads itself once, then asks two seconds after each answer. Each number of boards has two windows,
in the order 0, 1, 10, 10, 1, 0. What a browser itself needs is measured by `bench.board`.
"""

import math
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from bench.look import BATCHES, CHUNKS, LANES, SERVERS, fill
from bench.plants import in_a_plant, keep, prompts, up

WINDOW_S, SETTLE_S, EVERY_S = 30.0, 4.0, 2.0
"""The last as in `monitor/page/board.js`."""
BOARDS = (0, 1, 10, 10, 1, 0)
PARTS = ("api-server", "valkey", "postgres")
AT_WORK, FILLED = "one batch at work", "1,000 lanes, 100 batches"
_BULK_ITEMS, _ITEM_S, _CHUNK_S = 20_000, 0.5, 20


def main(window_s: float) -> None:
    """Measure and print."""
    from bench.report import save

    figures = in_a_plant(
        "bench.boards", str(window_s), deadline_s=240 + 14 * (window_s + SETTLE_S),
        generate={"servers": 2, "seconds_per_item": _ITEM_S, "config": {"seconds_per_item": _ITEM_S}},
        inspect={}, DARKROOM_MAX_CHUNK_S=str(_CHUNK_S),
    )  # fmt: skip
    save("boards", {
        "unit": "CPU seconds a second, mean of two windows; milliseconds", "seconds of a window": window_s,
        **figures,
    })  # fmt: skip


def measure(folder: Path, window_s: float) -> None:
    """In the plant of this environment: first at work, then filled."""
    from darkroom.commands.batches import api, start
    from darkroom.commands.connection import DAG_ID, redis_url

    up()
    session = api()
    first = start(str(prompts(folder, 8)), "A_C", "first", {})
    session.wait(DAG_ID, first.run_id, 180)  # what is imported at a first task is no part of it
    bulk = start(str(prompts(folder, _BULK_ITEMS)), "A_C", "bulk", {})
    plant = _Plant(session.url, _token(session))
    plant.wait_for(1)
    figures = {"page": plant.page(), AT_WORK: _windows(plant, window_s)}
    keep(folder, figures)
    session.fail(DAG_ID, bulk.run_id)
    session.call("PATCH", f"/api/v2/dags/{DAG_ID}", json={"is_paused": True})
    fill(redis_url(), forget=False)
    _fill_tables(first.run_id)
    time.sleep(2 * _CHUNK_S)  # the last chunks on the lanes end
    plant.wait_for(BATCHES)
    keep(folder, figures | {FILLED: _windows(plant, window_s)})


class _Plant:
    """As a board sees it."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/darkroom", trust_env=False, timeout=30,
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "gzip"},
        )  # fmt: skip

    def fetch(self, path: str) -> tuple[int, float]:
        """Bytes of an answer as they come over the wire, and the milliseconds until it was there."""
        begun = time.perf_counter()
        with self._http.stream("GET", path) as answer:
            answer.raise_for_status()
            size = sum(map(len, answer.iter_raw()))
        return size, 1000 * (time.perf_counter() - begun)

    def page(self) -> dict[str, int]:
        """What a board loads once, in bytes."""
        from darkroom.monitor import board

        parts = [self.fetch(f"/board/{board.version()}/{name}")[0] for name in board.parts()]
        return {"itself, bytes": self.fetch("/")[0], "its parts, bytes packed": sum(parts)}

    def wait_for(self, batches: int) -> None:
        """Return when a look shows so many batches that run.

        Raises:
            SystemExit: it does not.
        """
        until = time.monotonic() + 90
        while True:
            told = self._http.get("/api/plant").json()["batches"]
            if sum(one["run_state"] == "running" for one in told) >= batches:
                return
            if time.monotonic() > until:
                raise SystemExit(f"only {len(told)} batches are shown, not {batches}")
            time.sleep(1)


def _windows(plant: _Plant, window_s: float) -> dict[str, Any]:
    used: dict[int, list[dict[str, float]]] = {number: [] for number in BOARDS}
    took: dict[int, list[float]] = {number: [] for number in BOARDS}
    for number in BOARDS:
        cpu, took_ms = _window(plant, number, window_s)
        used[number].append(cpu)
        took[number] += took_ms
        print(number, cpu, len(took_ms), flush=True)
    size = plant.fetch("/api/plant")[0]
    told: dict[str, Any] = {"a look, bytes packed": size}
    return told | {
        f"{number} open": {
            **{part: round(statistics.mean(one[part] for one in windows), 4) for part in PARTS},
            "of each window": windows,
            **_times(took[number]),
        }
        for number, windows in used.items()
    }


def _times(took_ms: list[float]) -> dict[str, float]:
    if not took_ms:
        return {}
    ordered = sorted(took_ms)
    return {
        "looks asked for": len(ordered),
        "p50, ms": round(statistics.median(ordered), 1),
        "p95, ms": round(ordered[math.ceil(0.95 * len(ordered)) - 1], 1),
        "longest, ms": round(ordered[-1], 1),
    }


def _window(plant: _Plant, boards: int, window_s: float) -> tuple[dict[str, float], list[float]]:
    """CPU seconds a second by part, and how long each look took, while so many boards are open."""
    from bench.process_costs import cpu_s

    took_ms: list[float] = []
    over, measuring = threading.Event(), threading.Event()

    def board(number: int) -> None:
        over.wait(EVERY_S * number / max(1, boards))  # they were not opened at the same moment
        while not over.is_set():
            _, ms = plant.fetch("/api/plant")
            if measuring.is_set():
                took_ms.append(ms)
            over.wait(EVERY_S)

    threads = [threading.Thread(target=board, args=(number,)) for number in range(boards)]
    for thread in threads:
        thread.start()
    time.sleep(SETTLE_S)
    measuring.set()
    begun, before = time.monotonic(), cpu_s()
    time.sleep(window_s)
    wall_s, after = time.monotonic() - begun, cpu_s()
    over.set()
    for thread in threads:
        thread.join()
    return {part: round((after[part] - before[part]) / wall_s, 4) for part in PARTS}, took_ms


def _token(session: Any) -> str:
    from darkroom import stack
    from darkroom.stack.credentials import ADMIN

    login = {"username": ADMIN, "password": stack.admin_password()}
    return str(session.call("POST", "/auth/token", json=login)["access_token"])


_RUNS = """
INSERT INTO dag_run SELECT (jsonb_populate_record(NULL::dag_run, to_jsonb(run) ||
    jsonb_build_object('id', nextval('dag_run_id_seq'), 'run_id', 'batch-' || n, 'state', 'running',
    'start_date', now(), 'end_date', NULL, 'last_scheduling_decision', NULL,
    'conf', jsonb_build_object('batch_id', 'batch-' || n, 'flow', 'A_C')))).*
FROM dag_run run, generate_series(0, %(batches)s - 1) n WHERE run.run_id = %(run_id)s
"""
_CHUNKS = """
INSERT INTO task_instance SELECT (jsonb_populate_record(NULL::task_instance, to_jsonb(ti) ||
    jsonb_build_object('id', gen_random_uuid(), 'run_id', 'batch-' || n, 'map_index', chunk,
    'scheduled_dttm', now(), 'start_date', now(), 'last_heartbeat_at', NULL, 'queued_by_job_id', NULL,
    'state', CASE WHEN chunk < 54 THEN 'success' WHEN chunk < 59 THEN 'running' ELSE 'scheduled' END))).*
FROM task_instance ti, generate_series(0, %(batches)s - 1) n, generate_series(0, %(chunks)s - 1) chunk
WHERE ti.run_id = %(run_id)s AND ti.map_index = 0 AND ti.pool LIKE 'gpu_%%'
"""
"""Without a heartbeat and the scheduler's name, nobody takes them for tasks that have died."""


def _fill_tables(run_id: str) -> None:
    """Airflow's rows of such a plant: copies of those of a run that has ended."""
    import psycopg2

    from darkroom.stack.layout import Stack

    url = Stack.load().postgres_url.replace("+psycopg2", "")
    told = {"batches": BATCHES, "chunks": CHUNKS, "run_id": run_id}
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(_RUNS, told)
        cursor.execute(_CHUNKS, told)
        print(f"{BATCHES} runs, {cursor.rowcount} chunks, {SERVERS * LANES} lanes", flush=True)
    connection.close()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(Path(sys.argv[1]), float(sys.argv[2]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else WINDOW_S)
