"""Whether another server changes the time left as the board says: predicted, and what then happened.

`python -m bench.what_if --simulated` compares with a simulation of twelve plants, five runs each, in seconds.
`python -m bench.what_if` starts a plant of its own whose stages sleep, runs the same batches without and with
a change, and takes it down again; some twenty minutes. A server is added by taking its fence down, and
removed by fencing it. The change of the time left is compared: it counts from the change to the last item.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plants import in_a_plant, keep, up
from bench.simulated_stages import Plant, Scenario

GOAL = 0.10
"""Of the time left without the change."""
SEEDS = range(5)
_TWO = {"generate": (1, 1), "enhance": (1, 1), "inspect": (1, 1)}
_FOUR = [("A_C", 400), ("A_C", 400), ("B_C", 400), ("B_C", 400)]
_C_SLOW = {"generate": 1.0, "enhance": 1.5, "inspect": 2.0}
SCENARIOS = (
    Scenario("two A_C, two B_C: C from 2 to 3", _C_SLOW, _TWO, _FOUR, "inspect"),
    Scenario("two A_C, two B_C: C from 2 to 1", _C_SLOW, _TWO, _FOUR, "inspect", step=-1),
    Scenario("two A_C, two B_C: A from 2 to 3, which waits for C", _C_SLOW, _TWO, _FOUR, "generate"),
    Scenario("A slow: A from 2 to 3", {"generate": 4.0, "enhance": 1.5, "inspect": 0.5}, _TWO,
             [("A_C", 1000)], "generate"),
    Scenario("B slow: B from 1 to 2", {"generate": 1.0, "enhance": 6.0, "inspect": 1.0},
             {**_TWO, "enhance": (1,)}, [("A_C", 400), ("B_C", 400)], "enhance"),
    Scenario("A and C alike: C from 2 to 3", {"generate": 2.0, "enhance": 6.0, "inspect": 2.0}, _TWO,
             [("A_C", 1000)], "inspect"),
    Scenario("20 of A, 10 of C: C from 10 to 11", {"generate": 2.0, "enhance": 2.0, "inspect": 3.0},
             {"generate": (1,) * 20, "enhance": (1,), "inspect": (1,) * 10}, [("A_C", 5000), ("A", 1000)],
             "inspect"),
    Scenario("60 items: C from 2 to 3", {"generate": 1.0, "enhance": 2.0, "inspect": 3.0}, _TWO,
             [("A_C", 60)], "inspect"),
    Scenario("speeds 4, 2, 1, 0.5: a fifth of C", {"generate": 1.0, "enhance": 2.0, "inspect": 3.0},
             {"generate": (4, 2, 1, 0.5), "enhance": (1,), "inspect": (4, 2, 1, 0.5)}, [("A_C", 2000)],
             "inspect"),
    Scenario("late: C from 3 to 4 at 70 %", {"generate": 1.0, "enhance": 2.0, "inspect": 3.0},
             {**_TWO, "inspect": (1, 1, 1)}, [("A_C", 1000)], "inspect", at=0.7),
    Scenario("early: C from 3 to 4 at 5 %", {"generate": 1.0, "enhance": 2.0, "inspect": 3.0},
             {**_TWO, "inspect": (1, 1, 1)}, [("A_C", 1000)], "inspect", at=0.05),
    Scenario("A alone: from 1 to 2", {"generate": 3.0, "enhance": 2.0, "inspect": 3.0},
             {**_TWO, "generate": (1,)}, [("A", 500)], "generate"),
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """The time left without and with the change, in seconds: as it was, and as it was foreseen."""

    left_s: float
    said_left_s: float
    then_s: float
    said_then_s: float

    @property
    def change(self) -> float:
        """As it was."""
        return self.then_s / self.left_s - 1

    @property
    def said_change(self) -> float:
        """As the board says."""
        return self.said_then_s / self.said_left_s - 1

    @property
    def error(self) -> float:
        """Of the time left without the change."""
        return abs(self.said_change - self.change)

    @property
    def told(self) -> dict[str, float]:
        """For the record."""
        return {
            "left, s": round(self.left_s, 1), "said": round(self.said_left_s, 1),
            "then, s": round(self.then_s, 1), "said then": round(self.said_then_s, 1),
            "change": round(self.change, 4), "said change": round(self.said_change, 4),
            "error": round(self.error, 4),
        }  # fmt: skip


def simulated(scenario: Scenario, seed: int) -> Compared:
    """One scenario: run to the end, run again and look at the moment of the change, run again with it."""
    from darkroom.views.queueing import time_left, with_servers

    whole_s = Plant(scenario, seed).run()
    at_s = scenario.at * whole_s
    said: list[float] = []

    def look(plant: Plant) -> None:
        now, paths = plant.stations(), plant.paths()
        changed = with_servers(now, scenario.stage, now[scenario.stage].servers + scenario.step)
        said.extend(time_left(stations, paths)[0] for stations in (now, changed))

    Plant(scenario, seed).run(at_s, look)
    return Compared(whole_s - at_s, said[0], Plant(scenario, seed).run(at_s) - at_s, said[1])


def main_simulated() -> None:
    """Every scenario with every seed."""
    from bench.report import save

    found = {scenario.name: [simulated(scenario, seed) for seed in SEEDS] for scenario in SCENARIOS}
    rows = {name: _mean(runs) for name, runs in found.items()}
    save("what_if_simulated", {
        "unit": "seconds; change and error as shares of the time left without the change", "goal": GOAL,
        "seeds": len(SEEDS), "scenarios": rows,
        "within the goal": sum(row["worst error"] <= GOAL for row in rows.values()), "of": len(rows),
    })  # fmt: skip


def _mean(runs: Sequence[Compared]) -> dict[str, float]:
    mean = Compared(*(
        statistics.mean(getattr(one, name) for one in runs)
        for name in ("left_s", "said_left_s", "then_s", "said_then_s")
    ))  # fmt: skip
    return {**mean.told, "worst error": round(max(one.error for one in runs), 4)}


@dataclass(frozen=True)
class Tried:
    """One change on the real plant."""

    name: str
    batches: Sequence[tuple[str, int]]
    fenced: Sequence[str]
    """From the begin."""
    server: str
    """It comes, if it is among the fenced; else it goes."""
    at: float = 0.2
    """At this share of all items."""

    @property
    def base(self) -> tuple[object, ...]:
        """Runs with the same begin are compared with one run without a change."""
        return tuple(self.batches), tuple(self.fenced)


ITEM_S = {"generate": 1.0, "enhance": 1.5, "inspect": 2.5}
SERVERS = {"generate": 2, "enhance": 2, "inspect": 3}
MIN_CHUNK_S = 7.5
"""Longer than usual, as seven servers share two cores with all that is between two chunks."""
_MIXED, _TWO_OF_C = (("A_C", 40), ("B_C", 40)), ("inspect-3",)
_ALONE, _ONE_OF_A = (("A", 112),), ("generate-2",)
_PICTURES, _ONE_OF_B = (("B_C", 68),), ("enhance-2",)
TRIES = (
    Tried("A_C and B_C: C from 2 to 3", _MIXED, _TWO_OF_C, "inspect-3"),
    Tried("A_C and B_C: C from 2 to 1", _MIXED, _TWO_OF_C, "inspect-2"),
    Tried("A: A from 1 to 2", _ALONE, _ONE_OF_A, "generate-2"),
    Tried("B_C: B from 1 to 2", _PICTURES, _ONE_OF_B, "enhance-2"),
    Tried("A_C and B_C: A from 2 to 1, which waits for C", _MIXED, _TWO_OF_C, "generate-2"),
    Tried("B_C: C from 3 to 2, which waits for B", _PICTURES, _ONE_OF_B, "inspect-3"),
)
_DEADLINE_S = 1500
"""Some twenty minutes; what was not reached by then is not among the figures."""
_LEAST_S = 2.5
"""A look at the plant is shared for two seconds."""
_TELL_EVERY_S = 15.0


def main() -> None:
    """Measure in a plant of its own."""
    from bench.report import save

    paint, common = {"implementation": "paint:Draw"}, {"memory_mb": 500, "load_s": 120, "deadline_s": 30}
    kinds = {
        "generate": {**paint, "model": "paint@1"},
        "enhance": {**paint, "model": "paint-b@1", "summary": "sleeps"},
        "inspect": {"implementation": "paint:Judge", "model": "judge@2"},
    }
    rows = {
        stage: {
            **kind, **common, "servers": SERVERS[stage], "lanes_per_server": 2,
            "batch_size": 1, "seconds_per_item": ITEM_S[stage], "config": {"seconds_per_item": ITEM_S[stage]},
        }
        for stage, kind in kinds.items()
    }  # fmt: skip
    figures = in_a_plant(
        "bench.what_if", generate={}, deadline_s=_DEADLINE_S, DARKROOM_STAGES=json.dumps(rows),
        DARKROOM_MIN_CHUNK_S=str(MIN_CHUNK_S),
    )  # fmt: skip
    save("what_if", {
        "unit": "seconds; change and error as shares of the time left without the change", "goal": GOAL,
        "seconds per item": ITEM_S, "servers": SERVERS, "tries": figures,
        "within the goal": sum(row["error"] <= GOAL for row in figures.values()), "of": len(figures),
    })  # fmt: skip


def measure(folder: Path) -> None:
    """Every try in the plant of this environment, each beside a run without its change."""
    up()
    bases: dict[object, list[tuple[float, int]]] = {}
    figures: dict[str, Any] = {}
    for number, one in enumerate(TRIES):
        if one.base not in bases:
            base = _Run(folder, f"base-{number}", one.batches, one.fenced)
            base.to_its_end()
            bases[one.base] = base.done
        found = _Run(folder, f"try-{number}", one.batches, one.fenced).with_change(one, bases[one.base])
        if found:
            figures[one.name] = found.told
            print(f"{one.name}: {found.told}", flush=True)
            keep(folder, figures)


class _Run:
    """The same batches at once, to their last item."""

    def __init__(
        self, folder: Path, name: str, batches: Sequence[tuple[str, int]], fenced: Sequence[str]
    ) -> None:
        from darkroom.commands.batches import start
        from darkroom.commands.connection import redis_url
        from darkroom.live.progress import Progress

        self._progress, self._name = Progress(redis_url()), name
        for stage, servers in SERVERS.items():
            for number in range(1, servers + 1):
                server = f"{stage}-{number}"
                _fence(server, up=server in fenced)
        time.sleep(_LEAST_S)  # supervisors tell every two seconds
        sources = [_source(folder, f"{name}-{n}", *batch) for n, batch in enumerate(batches)]
        self._items = sum(items for _, items in batches)
        self._begun = self._told = time.monotonic()
        print(f"{name}: {batches}, without {', '.join(fenced) or 'a fence'}", flush=True)
        self._runs = [
            start(str(source), flow, f"{name}-{n}", {"respins": 0})
            for n, (source, (flow, _)) in enumerate(zip(sources, batches, strict=True))
        ]
        self.done: list[tuple[float, int]] = []
        """Seconds since the begin, and items that their last stage has finished with."""

    def to_its_end(self) -> None:
        """Until all runs have ended, so that the next begins in an idle plant."""
        from darkroom.commands.connection import DAG_ID, api

        while self._look() < self._items:
            time.sleep(0.25)
        for run in self._runs:
            api().wait(DAG_ID, run.run_id, 120)

    def with_change(self, tried: Tried, base: list[tuple[float, int]]) -> Compared | None:
        """Change it on the way; what was said then beside what came of it, None: nothing was said."""
        while self._look() < tried.at * self._items:
            time.sleep(0.25)
        said = self._said(tried)
        _fence(tried.server, up=tried.server not in tried.fenced)
        self._look()
        at_s, done = self.done[-1]
        self.to_its_end()
        if said is None:
            return None
        # The other run, from where it had done as much.
        base_at_s = next(seconds for seconds, number in base if number >= done)
        return Compared(base[-1][0] - base_at_s, said[0], self.done[-1][0] - at_s, said[1])

    def _look(self) -> int:
        from darkroom.flows import FLOWS

        done = 0
        for run in self._runs:
            seen = self._progress.read(run.batch_id)
            counts = seen.stages.get(FLOWS[run.flow].stages[-1])
            done += counts.total if counts else 0
        now = time.monotonic()
        self.done.append((now - self._begun, done))
        if now - self._told >= _TELL_EVERY_S or done >= self._items:
            self._told = now
            print(f"{self._name}: {done} of {self._items} after {now - self._begun:.0f} s", flush=True)
        return done

    def _said(self, tried: Tried) -> tuple[float, float] | None:
        """What the board says now: the time left, and with the change."""
        from darkroom.commands.connection import api
        from darkroom.views.overview import Overview

        plant = Overview.model_validate(api().darkroom("GET", "/api/plant"))
        stage = next(one for one in plant.stages if one.stage == tried.server.rpartition("-")[0])
        then = stage.more if tried.server in tried.fenced else stage.fewer
        print(plant.bottleneck.sentence, flush=True)
        if then is None or then.time_left_s is None or plant.bottleneck.time_left_s is None:
            print(f"{tried.name}: the board says nothing: {plant.bottleneck}", flush=True)
            return None
        return plant.bottleneck.time_left_s, then.time_left_s


def _fence(server: str, *, up: bool) -> None:
    from darkroom.fleet.fence import Fence, fence_file
    from darkroom.settings import settings

    fence = Fence(fence_file(settings().home, server))
    if up:
        fence.put_up("bench.what_if")
    else:
        fence.take_down()


def _source(folder: Path, name: str, flow: str, items: int) -> Path:
    """Prompts, or pictures that look alike and are not the same file."""
    from darkroom.stages.noop import PNG

    if flow.startswith("A"):
        path = folder / "inputs" / f"{name}.jsonl"
        path.write_text("".join(f'{{"custom_id": "{n}", "prompt": "{name} {n}"}}\n' for n in range(items)))
        return path
    path = folder / "inputs" / name
    path.mkdir(exist_ok=True)
    for n in range(items):
        (path / f"{n}.png").write_bytes(PNG + f"{name} {n}".encode())
    return path


if __name__ == "__main__":
    if sys.argv[1:] == ["--simulated"]:
        main_simulated()
    elif len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
    else:
        main()
