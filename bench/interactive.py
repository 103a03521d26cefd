"""What an interactive item waits for while bulk fills everything: one item A_C, by priority, in one run.

`DARKROOM_MAX_CHUNK_S=20 darkroom up && python -m bench.interactive [RUNS]`. Idle, then beside a bulk batch
that holds every lane of its stages and has chunks waiting: interactive and normal runs, in turn.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.latency import measure, one_item
from bench.report import save
from darkroom.api import DAG_ID
from darkroom.commands.batches import api
from darkroom.flows import STAGES
from darkroom.settings import REPOSITORY, settings

DELIVERED = "trigger to delivered"
_SHOWN = ("a_c.generate: wait", "a_c.generate: run", "a_c.inspect: wait", "a_c.inspect: run", DELIVERED)
_FULL_S = 120


def main(runs: int) -> None:
    """Measure and print medians, and their ratios."""
    source = one_item()
    tag = f"bench-interactive-{int(time.time())}"
    measure(source, f"{tag}-first", "interactive")  # what is imported at a first task is no part of it
    found: dict[str, list[dict[str, float]]] = {"idle": [], "interactive": [], "normal": []}
    for n in range(runs):
        found["idle"].append(measure(source, f"{tag}-idle-{n}", "interactive"))
    with _bulk(f"{tag}-bulk") as run_id:
        for n in range(runs):
            for priority in ("interactive", "normal"):
                _wait_until_full(run_id)
                found[priority].append(measure(source, f"{tag}-{priority}-{n}", priority))
        chunk_s = _chunk_seconds(run_id)
    medians = {
        way: {name: statistics.median(each[name] for each in several) for name in _SHOWN}
        for way, several in found.items()
    }
    stage = STAGES["generate"]
    figures: dict[str, Any] = {
        "runs": runs,
        "unit": "seconds, median (least to most)",
        "generate": settings().implementations.get("generate", stage.implementation),
        "bulk chunk": f"{statistics.median(chunk_s):.1f} ({min(chunk_s):.1f} to {max(chunk_s):.1f})",
    }
    for way, several in found.items():
        figures[way if way == "idle" else f"{way}, beside bulk"] = {
            name: _shown([each[name] for each in several]) for name in _SHOWN
        }
    beside, idle = medians["interactive"], medians["idle"]
    figures["interactive beside bulk / idle"] = round(beside[DELIVERED] / idle[DELIVERED], 2)
    figures["normal / interactive, both beside bulk"] = round(
        medians["normal"][DELIVERED] / beside[DELIVERED], 1
    )
    save("interactive", figures)


def _shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


@contextmanager
def _bulk(batch_id: str) -> Iterator[str]:
    """A batch that lasts longer than what is measured beside it; it is ended then."""
    source = REPOSITORY / "inputs" / "bench-bulk.jsonl"
    lines = [
        {"custom_id": f"i{n}", "prompt": "a large red circle on a white background"} for n in range(4000)
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    conf = {"flow": "A_C", "source": str(source), "batch_id": batch_id, "respins": 0, "priority": "bulk"}
    run_id = api().trigger(DAG_ID, batch_id, conf)
    try:
        yield run_id
    finally:
        api().fail(DAG_ID, run_id)


def _chunks(run_id: str) -> list[dict[str, Any]]:
    return [ti for ti in api().task_instances(DAG_ID, run_id) if ti["task_id"] == "a_c.generate"]


def _wait_until_full(run_id: str) -> None:
    """Return when bulk has every lane of its first stage, and chunks that wait for one.

    Raises:
        SystemExit: it does not, so there is nothing to measure beside.
    """
    until = time.monotonic() + _FULL_S
    lanes = STAGES["generate"].lanes
    while True:
        states = [ti["state"] for ti in _chunks(run_id)]
        if states.count("running") == lanes and states.count("scheduled"):
            return
        if time.monotonic() > until:
            raise SystemExit(f"bulk does not fill {lanes} lanes: {states}")
        time.sleep(0.2)


def _chunk_seconds(run_id: str) -> list[float]:
    return [float(ti["duration"]) for ti in _chunks(run_id) if ti["state"] == "success"]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
