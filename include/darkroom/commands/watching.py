"""Progress bars of batches in the terminal: one bar per stage, until their runs have ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from darkroom.api import FINAL_STATES, AirflowApi
from darkroom.flows import FLOWS
from darkroom.progress import Counts, Snapshot
from darkroom.progress import Progress as LiveProgress

DAG_ID = "image_flow"
PLAIN_EVERY_S = 5.0


@dataclass(frozen=True)
class Watched:
    """A batch and the run that works on it."""

    batch_id: str
    run_id: str
    flow: str


class _Rate(ProgressColumn):
    """Items a second, as measured so far."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:5.1f}/s" if speed else "    -/s", style="progress.data.speed")


def watch(
    watched: Sequence[Watched], api: AirflowApi, live: LiveProgress, console: Console
) -> dict[str, str]:
    """Show the batches until all their runs have ended; the runs' final states by batch id."""
    bars = Progress(
        TextColumn("{task.description:<12}"), BarColumn(bar_width=14),
        MofNCompleteColumn(), TextColumn("{task.fields[outcome]}"), _Rate(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
    rows = {
        (batch.batch_id, stage): bars.add_task(f"{batch.flow} {stage}", total=None, outcome="", start=False)
        for batch in watched
        for stage in FLOWS[batch.flow].stages
    }
    states: dict[str, str] = {}
    told = 0.0
    with bars:
        while True:
            for batch in watched:
                if batch.batch_id not in states:
                    state = api.run_state(DAG_ID, batch.run_id)
                    seen = live.read(batch.batch_id)
                    for stage in FLOWS[batch.flow].stages:
                        _show(bars, rows[batch.batch_id, stage], stage, seen)
                    if state in FINAL_STATES:
                        states[batch.batch_id] = state
                    if not console.is_terminal and time.monotonic() - told > PLAIN_EVERY_S:
                        console.print(f"{batch.batch_id}: {state}; {plain(batch.flow, seen)}", soft_wrap=True)
            if len(states) == len(watched):
                return states
            if time.monotonic() - told > PLAIN_EVERY_S:
                told = time.monotonic()
            time.sleep(0.5)


def plain(flow: str, seen: Snapshot) -> str:
    """One line for logs: `generate 12/24 done, 0 failed; inspect 4/24 done, 1 rejected`."""
    total = "?" if seen.items is None else seen.items
    counts = {stage: seen.stages.get(stage, Counts()) for stage in FLOWS[flow].stages}
    return "; ".join(f"{stage} {c.total}/{total}, {_outcome(c)}" for stage, c in counts.items())


def _show(bars: Progress, row: int, stage: str, seen: Snapshot) -> None:
    counts = seen.stages.get(stage, Counts())
    again = seen.respins.get(stage)
    outcome = _outcome(counts) + (f", {again.total} again" if again else "")
    if counts.total and not bars.tasks[row].started:
        bars.start_task(row)  # type: ignore[arg-type]
    bars.update(row, total=seen.items, completed=counts.total, outcome=outcome)  # type: ignore[arg-type]


def _outcome(counts: Counts) -> str:
    """`48 done, 2 rejected`: what there is none of is left out."""
    told = {"done": counts.done, "rejected": counts.rejected, "failed": counts.failed}
    return ", ".join(f"{count} {what}" for what, count in told.items() if count) or "0 done"
