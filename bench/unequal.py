"""Four machines of speeds 4, 2, 1 and 0.5 on the real stack: how far above the lower bound a batch ends.

`python -m bench.unequal` starts a plant of its own in a temporary folder, whose stage sleeps 0.2 s an item on
a machine of speed 1, measures the same batch without and with faults, and takes it down again: 22 minutes.
With `--plain` it leaves out the faults, with `--item-s 0.4` items take twice as long. The makespan counts
from the REST trigger to the end of the run.
"""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.plants import in_a_plant, keep, prompts, up
from bench.server_trace import losses, read_traces

ITEMS = 20_000
ITEM_S = 0.2
"""On a machine of speed 1: 0.4 s on the slowest."""
SPEEDS = {"generate-1": 4.0, "generate-2": 2.0, "generate-3": 1.0, "generate-4": 0.5}
KILLED, KILLED_AT = "generate-1", 0.2
HUNG, HUNG_AT = "generate-2", 0.5
WARM_UP_ITEMS = 400
BATCH = 4
DEADLINE_BATCHES = 6
"""A server hangs that is silent for so many batches of the slowest: 9.6 s with items of 0.2 s."""
GOALS = {"plain": 1.05, "faults": 1.15}
_TELL_EVERY_S = 15.0


def main() -> None:
    """Measure both and print how they compare."""
    from bench.report import save

    parser = argparse.ArgumentParser(
        prog="python -m bench.unequal", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--items", type=int, default=ITEMS, help=f"in the batch ({ITEMS:,})")
    parser.add_argument("--item-s", type=float, default=ITEM_S, help=f"seconds at speed 1 ({ITEM_S:g})")
    parser.add_argument("--plain", action="store_true", help="without faults alone")
    asked = parser.parse_args()
    goals = {name: goal for name, goal in GOALS.items() if name == "plain" or not asked.plain}
    figures = in_a_plant(
        "bench.unequal", str(asked.items), str(asked.item_s), *goals,
        deadline_s=1200 + 2 * len(goals) * lower_bound_s(asked.items, asked.item_s),
        generate={
            "servers": len(SPEEDS), "lanes_per_server": 2, "batch_size": BATCH,
            "deadline_s": DEADLINE_BATCHES * BATCH * asked.item_s / min(SPEEDS.values()),
            "seconds_per_item": asked.item_s, "config": {"seconds_per_item": asked.item_s, "speeds": SPEEDS},
        },
    )  # fmt: skip
    save("unequal" + "-plain" * asked.plain + f"-{asked.item_s:g}s" * (asked.item_s != ITEM_S), {
        "unit": "ratios of seconds to N * t / sum of speeds", "items": asked.items,
        "speeds": list(SPEEDS.values()), "seconds per item at speed 1": asked.item_s, "goals": goals,
        **figures,
    })  # fmt: skip
    if missing := goals.keys() - figures.keys():
        raise SystemExit(f"not measured: {', '.join(sorted(missing))}")


def lower_bound_s(items: int, item_s: float) -> float:
    """The least time in which the four can do it, with nothing lost between two items."""
    return items * item_s / sum(SPEEDS.values())


class Faults:
    """What happens to the fleet in the second measurement, as the batch goes on."""

    def __init__(self, flags: Path) -> None:
        self.told: dict[str, Any] = {}
        """Which fault at which share of the items, in seconds since the begin."""
        self._hang = flags / f"hang-{HUNG}"
        self._begun = time.monotonic()

    def look(self, share: float) -> None:
        """Do what is due when so much of the batch is done."""
        from tests.stack.plant import kill_tree

        killed, hung = f"{KILLED} killed", f"{HUNG} hung"
        if share >= KILLED_AT and killed not in self.told:
            for part in ("server", "worker"):
                kill_tree(f"{part}-{KILLED}")
            self._tell(killed, share)
        if share >= HUNG_AT and hung not in self.told:
            self._hang.touch()
            self._tell(hung, share)
        if self._hang.exists() and not _ready(HUNG):
            self._hang.unlink()
            self._tell(f"{HUNG} noticed", share)

    def _tell(self, what: str, share: float) -> None:
        self.told[what] = {"at_s": round(time.monotonic() - self._begun, 1), "items": f"{share:.1%}"}
        print(f"{what} at {share:.1%}", flush=True)


def _ready(server: str) -> bool:
    from darkroom.serving.status import ServerStatus, State, status_file
    from darkroom.settings import settings

    status = ServerStatus.read(status_file(settings().home, server))
    return status is not None and status.state is State.READY


def measure(folder: Path, items: int, item_s: float, *what: str) -> None:
    """Run the batches in the plant of this environment; what came of each is kept as soon as it is known."""
    up()
    _run(folder, WARM_UP_ITEMS, item_s, "warm-up")  # from now on rates are measured
    figures = {"plain": _run(folder, items, item_s, "plain")}
    keep(folder, figures)
    if "faults" not in what:
        return
    faults = Faults(folder / "flags")
    figures["faults"] = {**_run(folder, items, item_s, "faults", faults.look), "what": faults.told}
    keep(folder, figures)


def _run(
    folder: Path, items: int, item_s: float, name: str,
    at_share: Callable[[float], None] = lambda _share: None,
) -> dict[str, Any]:  # fmt: skip
    from darkroom.commands.batches import api, start
    from darkroom.commands.connection import DAG_ID, redis_url
    from darkroom.live.progress import Progress
    from darkroom.rest.api import FINAL_STATES

    session, progress = api(), Progress(redis_url())
    begun = told = time.monotonic()
    begun_at = time.time()
    batch = start(str(prompts(folder, items)), "A", f"unequal-{name}", {})
    while (state := session.run_state(DAG_ID, batch.run_id)) not in FINAL_STATES:
        counts = progress.read(batch.batch_id).stages.get("generate")
        done = counts.total if counts else 0
        at_share(done / items)
        if time.monotonic() - told >= _TELL_EVERY_S:
            told = time.monotonic()
            print(f"{name}: {done} of {items} after {told - begun:.0f} s", flush=True)
        time.sleep(0.5)
    makespan_s = time.monotonic() - begun
    each_s = {server: item_s / speed for server, speed in SPEEDS.items()}
    traces = read_traces(folder / "trace", "generate", each_s)
    figures = {
        **_figures(batch.batch_id, makespan_s, items, lower_bound_s(items, item_s)),
        "excess by cause": losses(traces, each_s, items, begun_at, begun_at + makespan_s),
    }
    print(f"{name}: {state}, {figures['ratio']} of the lower bound", flush=True)
    return {"state": state, **figures}


def _figures(batch_id: str, makespan_s: float, items: int, bound_s: float) -> dict[str, Any]:
    from darkroom.commands.batches import api, summary_of, verified
    from darkroom.commands.connection import CHILD_DAG_ID, DAG_ID, batch_named

    session, batch = api(), batch_named(batch_id)
    summary, report = summary_of(batch_id), verified(batch_id)
    if summary is None:
        raise SystemExit(f"{batch_id} left no manifest; see its run")
    runs = [
        (DAG_ID, batch_id),
        *((CHILD_DAG_ID, run.run_id) for run in session.runs_of_batch(CHILD_DAG_ID, batch_id)),
    ]
    chunks = [
        ti for dag_id, run_id in runs for ti in session.task_instances(dag_id, run_id)
        if ti["task_id"].endswith(".generate") and ti["start_date"]
    ]  # fmt: skip
    first = min(datetime.fromisoformat(ti["start_date"]).timestamp() for ti in chunks)
    last = max(when for _, when in batch.store.list_written(f"{batch.root}/parts"))
    return {
        "makespan, s": round(makespan_s, 1),
        "lower bound, s": round(bound_s, 1),
        "ratio": round(makespan_s / bound_s, 4),
        "first chunk to last part, s": round(last - first, 1),
        "its ratio": round((last - first) / bound_s, 4),
        "chunks": len(chunks),
        "sizes": [max(batch.planned().sizes), min(batch.planned().sizes)],
        "runs": len(runs),
        "chunks tried again": sum(ti["try_number"] > 1 for ti in chunks),
        "items": summary.items,
        "completed": summary.completed,
        "wasted": summary.wasted.model_dump(),
        "by host": shares({host: (work.computed, work.busy_s) for host, work in summary.by_host.items()}),
        "lower bound as measured, s": summary.lower_bound_s,
        "verified": report.ok,
        "problems": report.problems[:5],
    }


def shares(hosts: dict[str, tuple[int, float]]) -> dict[str, dict[str, float]]:
    """Per server its items, their share, the share of its speed, and the seconds it computed on an item."""
    items, speeds = sum(done for done, _ in hosts.values()), sum(SPEEDS.values())
    return {
        (name := host.partition("@")[0]): {
            "items": done,
            "share": round(done / items, 4),
            "share of speed": round(SPEEDS[name] / speeds, 4),
            "seconds per item": round(busy_s / done, 4) if done else 0.0,
        }
        for host, (done, busy_s) in sorted(hosts.items())
    }


if __name__ == "__main__":
    if sys.argv[1:2] and Path(sys.argv[1]).is_dir():
        measure(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
    else:
        main()
