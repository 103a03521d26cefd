"""How far above the best that any schedule could do a batch ends, simulated with the real planner.

`python -m bench.simulate`. Ten machines of speeds 4 to 0.5 and items of 10 s at speed 1; ten runs a case, and
where something happens to a machine, to another one in each. The bound is what the same machines would need
if work could be divided at will (`fluid_s`): with constant speeds the items' time over the sum of speeds.
"""

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.line_chart import line_chart
from bench.report import save
from bench.simulated_fleet import Fleet
from bench.simulated_world import ITEM_S, Case, Outcome, World, params_for

SPEEDS = (4.0, 3.0, 3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.5)
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SEEDS = range(10)
CASES = (
    Case("steady"),
    Case("one halves", factor=0.5),
    Case("one drops to 2 %", factor=0.02),
    Case("one dies", factor=0.0),
    Case("one comes late", comes_late=True),
    Case("1 % of items fail", failing=0.01),
)
GOALS = {("steady", 10_000): 1.0, ("steady", 100_000): 0.3, ("steady", 1_000_000): 0.2,
         ("one drops to 2 %", 1_000_000): 1.0, ("one dies", 1_000_000): 1.0}  # fmt: skip
"""Per cent over the bound, at most."""
CHART = Path(__file__).parents[1] / "docs" / "images" / "simulation.svg"


def simulate(case: Case, items: int, seed: int, world: World | None = None) -> Outcome:
    """One run; the seed also says which machine is the victim. A plan knows no machine that comes late."""
    victim = seed % len(SPEEDS)
    known = [speed for n, speed in enumerate(SPEEDS) if not (case.comes_late and n == victim)]
    return Fleet(items, SPEEDS, case, victim, params_for(known), seed, world).run()


def main() -> None:
    """Every case at every size."""
    runs = {
        (case.name, items): [simulate(case, items, seed) for seed in SEEDS]
        for case, items in track([(case, items) for case in CASES for items in SIZES], "simulating",
                                 console=Console(stderr=True))
    }  # fmt: skip
    busier = [simulate(CASES[0], 1_000_000, seed, World(gap_s=5.0, start_every_s=0.5)) for seed in SEEDS]
    figures = {case.name: {str(items): _figures(runs[case.name, items]) for items in SIZES} for case in CASES}
    params = params_for(SPEEDS)
    _print(runs)
    CHART.write_text(_chart(figures))
    save("simulate", {
        "unit": "per cent over the bound; forecasts: per cent of truth",
        "fleet": {"speeds": SPEEDS, "item_s": ITEM_S, **vars(World()), "seeds": len(SEEDS)},
        "plan": {"k": params.k, "min_items": params.min_items, "cap_items": params.cap_items},
        "cases": figures,
        "steady, a million, gaps of 5 s and 2 starts a second": _figures(busier),
        "forecasts": _forecasts(runs),
    })  # fmt: skip


def _figures(outcomes: list[Outcome]) -> dict[str, Any]:
    excess = [100 * outcome.excess for outcome in outcomes]
    return {
        "median": round(statistics.median(excess), 4),
        "worst": round(max(excess), 4),
        "bound_s": round(statistics.median(outcome.bound_s for outcome in outcomes)),
        "chunks": max(outcome.chunks for outcome in outcomes),
        "runs": max(outcome.runs for outcome in outcomes),
        "rounds": max(outcome.rounds for outcome in outcomes),
        "left_over": max(sum(outcome.left_over) for outcome in outcomes),
        "undone": max(outcome.undone for outcome in outcomes),
    }


def _forecasts(runs: dict[tuple[str, int], list[Outcome]]) -> dict[str, Any]:
    """How often the truth lay in the range that was said, and how far the middle was off."""
    held: dict[str, list[bool]] = defaultdict(list)
    off: dict[str, list[float]] = defaultdict(list)
    for (name, items), outcomes in runs.items():
        for outcome in outcomes:
            for look in outcome.looks:
                truth_s = outcome.makespan_s - look.at_s
                for group in ("all", name, f"{items:,} items", f"at {look.share:.0%}"):
                    held[group].append(look.said.low <= truth_s <= look.said.high)
                    off[group].append(100 * abs(look.said.seconds / truth_s - 1))
    return {
        group: {
            "in_range": round(statistics.mean(inside), 3),
            "off": round(statistics.median(off[group]), 2),
        }
        for group, inside in held.items()
    }


def _print(runs: dict[tuple[str, int], list[Outcome]]) -> None:
    table = Table("case", *(f"{items:,}" for items in SIZES), title="% over the bound: median (worst)")
    for case in CASES:
        cells = []
        for items in SIZES:
            excess = [100 * outcome.excess for outcome in runs[case.name, items]]
            goal = GOALS.get((case.name, items))
            told = f"{statistics.median(excess):.3f} ({max(excess):.3f})"
            cells.append(told if goal is None else f"{told}, goal {goal:g}")
        table.add_row(case.name, *cells)
    Console(stderr=True, width=150).print(table)


def _chart(figures: dict[str, dict[str, Any]]) -> str:
    lines = {name: [(int(items), row["median"]) for items, row in by_size.items()]
             for name, by_size in figures.items()}  # fmt: skip
    return line_chart(
        "Makespan over the bound, simulated (median of ten; bars: goals)", "items in the batch",
        lines, [(items, goal) for (_, items), goal in GOALS.items()], (0.001, 100.0),
    )  # fmt: skip


if __name__ == "__main__":
    main()
