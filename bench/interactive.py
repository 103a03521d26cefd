"""What one item that somebody waits for needs by REST: on an idle plant, and while bulk holds every lane.

`python -m bench.interactive [RUNS]` starts a plant of its own in a temporary folder, whose stage A sleeps
half a second an item, so that as on a GPU the models take no CPU from Airflow. It runs one item A_C that
often on the idle plant and that often beside a bulk batch that has every lane of A and chunks waiting, a
quarter as often with priority `normal`, and takes the plant down again. Some 11 minutes at 30.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.latency import DELIVERED, FIRST_WORK, OVER_MODELS, measure_one, shown
from bench.plants import in_a_plant, keep, prompts, up

RUNS = 30
SECONDS_PER_ITEM, BATCH, SERVERS = 0.5, 4, 2
BULK_ITEMS = 8_000
IDLE, BESIDE, NORMAL = "idle", "interactive, beside bulk", "normal, beside bulk"
_SHOWN = (
    "a_c.generate: wait", "a_c.generate: run", "a_c.inspect: wait", "a_c.inspect: run",
    FIRST_WORK, OVER_MODELS, DELIVERED,
)  # fmt: skip
_FULL_S = 120


def main(runs: int) -> None:
    """Measure and print."""
    from bench.report import save

    figures = in_a_plant(
        "bench.interactive", str(runs), deadline_s=180 + 60 * runs,
        generate={
            "servers": SERVERS, "batch_size": BATCH, "seconds_per_item": SECONDS_PER_ITEM,
            "config": {"seconds_per_item": SECONDS_PER_ITEM},
        },
        inspect={}, DARKROOM_MAX_CHUNK_S="20",
    )  # fmt: skip
    save("interactive", {
        "unit": "seconds, median (p95)", "seconds of an item": SECONDS_PER_ITEM,
        "seconds of a server batch of bulk": SECONDS_PER_ITEM * BATCH, "goals idle": "3 (5) over model time",
        **figures,
    })  # fmt: skip


def measure(folder: Path, runs: int) -> None:
    """Measure in the plant of this environment; what came of each way is kept as soon as it is known."""
    up()
    source = str(prompts(folder, 1))
    measure_one(source, "first", "interactive")  # what is imported at a first task is no part of it
    found: dict[str, list[dict[str, float]]] = {IDLE: [], BESIDE: [], NORMAL: []}
    for n in range(runs):
        found[IDLE].append(measure_one(source, f"idle-{n}", "interactive"))
    with _bulk(folder) as run_id:
        for n in range(runs):
            _wait_until_full(run_id)
            found[BESIDE].append(measure_one(source, f"interactive-{n}", "interactive"))
            print(f"{n + 1} of {runs} beside bulk", flush=True)
        for n in range(-(-runs // 4)):
            _wait_until_full(run_id)
            found[NORMAL].append(measure_one(source, f"normal-{n}", "normal"))
        gaps = _between_shards(run_id)
    figures = {way: _figures(several) for way, several in found.items()}
    keep(folder, {**figures, "between two shards of bulk": {"shards": len(gaps) + 1, "seconds": shown(gaps)}})


def _between_shards(run_id: str) -> list[float]:
    """From the first lane that finds no more chunk in a shard to the first chunk of the next, in seconds."""
    from darkroom.commands.batches import api
    from darkroom.rest.api import CHILD_DAG_ID

    def times(chunks: list[dict[str, Any]], which: str) -> list[float]:
        return [datetime.fromisoformat(ti[which]).timestamp() for ti in chunks if ti[which]]

    shards = [
        [ti for ti in api().task_instances(CHILD_DAG_ID, run.run_id) if ti["task_id"] == "a_c.generate"]
        for run in reversed(api().runs_of_batch(CHILD_DAG_ID, run_id))
    ]
    gaps = []
    for before, after in pairwise(shards):
        begun, begun_next = times(before, "start_date"), times(after, "start_date")
        free = [end for end in times(before, "end_date") if end > max(begun, default=0.0)]
        if free and begun_next:
            gaps.append(min(begun_next) - min(free))
    return gaps


def _figures(runs: list[dict[str, float]]) -> dict[str, Any]:
    return {"runs": len(runs), **{name: shown([run[name] for run in runs]) for name in _SHOWN}}


@contextmanager
def _bulk(folder: Path) -> Iterator[str]:
    """A batch that lasts longer than what is measured beside it; it is ended then."""
    from darkroom.commands.batches import api
    from darkroom.rest.api import DAG_ID

    conf = {"flow": "A_C", "source": str(prompts(folder, BULK_ITEMS)), "batch_id": "bulk", "priority": "bulk"}
    run_id = api().trigger(DAG_ID, "bulk", conf)
    try:
        yield run_id
    finally:
        api().fail(DAG_ID, run_id)


def _wait_until_full(run_id: str) -> None:
    """Return when bulk has every lane of its first stage, and chunks that wait for one.

    Raises:
        SystemExit: it does not, so there is nothing to measure beside.
    """
    from darkroom.commands.batches import api
    from darkroom.flows import STAGES
    from darkroom.rest.api import CHILD_DAG_ID, DAG_ID

    until, lanes = time.monotonic() + _FULL_S, STAGES["generate"].lanes
    while True:
        children = [(CHILD_DAG_ID, run.run_id) for run in api().runs_of_batch(CHILD_DAG_ID, run_id)]
        states = [
            ti["state"] for run in [(DAG_ID, run_id), *children] for ti in api().task_instances(*run)
            if ti["task_id"] == "a_c.generate"
        ]  # fmt: skip
        if states.count("running") == lanes and states.count("scheduled"):
            return
        if time.monotonic() > until:
            raise SystemExit(f"bulk does not fill {lanes} lanes: {json.dumps(states)}")
        time.sleep(0.2)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
