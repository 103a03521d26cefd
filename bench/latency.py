"""Latency of an A_C run of one item: trigger to delivered, hop by hop, and the model's share of it.

`python -m bench.latency [RUNS]` on a running plant (`make up`). The first run after a start is not counted.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bench.report import save
from darkroom.commands.batches import api, summary_of
from darkroom.rest.api import DAG_ID
from darkroom.settings import REPOSITORY

DELIVERED = "trigger to delivered"
FIRST_WORK = "trigger to first model work"
"""To when A's model began, at the latest: what it took, back from the end of its task."""
OVER_MODELS = "trigger to delivered, less the models' time"
HOPS = ("plan", "a_c.generate", "a_c.inspect", "collect", "verdict")


def main(runs: int) -> None:
    """Trigger one-item runs one after the other and print the medians."""
    source = one_item()
    measured = [measure_one(source, f"bench-latency-{int(time.time())}-{n}") for n in range(runs + 1)][1:]
    figures: dict[str, Any] = {"runs": runs, "unit": "seconds, median (p95)"}
    for name in measured[0]:
        figures[name] = shown([run[name] for run in measured])
    share = statistics.median(run["model"] / run[DELIVERED] for run in measured)
    figures["model share"] = f"{share:.1%}"
    save("latency", figures)


def shown(values: Sequence[float]) -> str:
    """The median, and in brackets the 95th percentile."""
    p95 = sorted(values)[round(0.95 * (len(values) - 1))]
    return f"{statistics.median(values):.2f} ({p95:.2f})"


def one_item() -> str:
    """A source of one prompt."""
    inputs = REPOSITORY / "inputs"
    inputs.mkdir(exist_ok=True)
    source = inputs / "bench-one-item.jsonl"
    source.write_text('{"custom_id": "one", "prompt": "a large red circle on a white background"}\n')
    return str(source)


def measure_one(source: str, batch_id: str, priority: str = "normal") -> dict[str, float]:
    """Seconds of each hop of one run, and of all."""
    session = api()
    begun = time.time()
    conf = {"flow": "A_C", "source": source, "batch_id": batch_id, "respins": 0, "priority": priority}
    run_id = session.trigger(DAG_ID, batch_id, conf)
    session.wait(DAG_ID, run_id, timeout_s=300)
    instances = {ti["task_id"]: ti for ti in session.task_instances(DAG_ID, run_id)}
    figures: dict[str, float] = {}
    before = begun
    for hop in HOPS:
        start, end = _time(instances[hop]["start_date"]), _time(instances[hop]["end_date"])
        figures[f"{hop}: wait"] = start - before
        figures[f"{hop}: run"] = end - start
        before = end
        if hop == "collect":
            figures[DELIVERED] = end - begun
    figures["trigger to verdict"] = before - begun
    summary = summary_of(batch_id)
    if summary is None:
        raise SystemExit("the run left no manifest; see darkroom status")
    figures["model"] = sum(work.busy_s for work in summary.by_stage.values())
    generated = _time(instances["a_c.generate"]["end_date"]) - begun
    figures[FIRST_WORK] = generated - summary.by_stage["generate"].busy_s
    figures[OVER_MODELS] = figures[DELIVERED] - figures["model"]
    return figures


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
