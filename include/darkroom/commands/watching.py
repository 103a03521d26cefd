"""Batches in the terminal: a bar per stage and a row per host, until their runs have ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from darkroom.commands.plants import Plant
from darkroom.rest.api import FINAL_STATES
from darkroom.views.forecast import Forecast
from darkroom.views.outlook import HostView, Outlook, StageView

PLAIN_EVERY_S = 5.0
_HEADINGS = (
    "host", "stage", "done", "failed", "rejected", "in flight", "items /s", "share", "s /item", "left",
    "what it does",
)  # fmt: skip
_NEVER_CUT = (0, 2)
"""Of a bar's columns: its stage and its count."""
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


@dataclass(frozen=True)
class Watched:
    """A batch and the run that works on it."""

    batch_id: str
    run_id: str
    flow: str


def watch(watched: Sequence[Watched], plant: Plant, console: Console) -> dict[str, str]:
    """Show the batches until all their runs have ended; how they ended by batch id: as `state_of`."""
    states: dict[str, str] = {}
    looks: dict[str, Outlook] = {}
    told = 0.0
    with Screen(console=console, auto_refresh=False, transient=False) as screen:
        while True:
            begun = time.monotonic()
            for batch in watched:
                if batch.batch_id in states:
                    continue
                state, look = plant.look(batch.batch_id, batch.run_id, batch.flow)
                looks[batch.batch_id] = look
                if state in FINAL_STATES:
                    states[batch.batch_id] = look.state
            if console.is_terminal:
                views = [drawn(look, hosts=len(looks) == 1) for look in looks.values()]
                screen.update(Group(*views), refresh=True)
            elif begun - told > PLAIN_EVERY_S or len(states) == len(watched):
                told = begun
                for look in looks.values():
                    console.print(plain(look), soft_wrap=True, markup=False, highlight=False)
            if len(states) == len(watched):
                return states
            # Looking at ten thousands of chunks costs something; it shall never be what keeps a CPU busy.
            time.sleep(max(plant.look_every_s, 4 * (time.monotonic() - begun)))


def plain(look: Outlook) -> str:
    """One line for logs: `b1: running; generate 12/24, 12 done; inspect 4/24, 3 done, 1 rejected`."""
    total = "?" if look.items is None else look.items
    stages = [
        f"{stage.stage} {_finished(stage)}/{total}, {_outcome(stage)}"
        + (f", {stage.again} again" if stage.again else "")
        for stage in look.stages
    ]
    return "; ".join([f"{look.batch_id}: {look.state}", *stages, *look.waits, *_left(look)])


def drawn(look: Outlook, hosts: bool = True) -> RenderableType:
    """A batch as a header, a bar per stage and, if wanted, a row per host."""
    lines: list[RenderableType] = [_header(look), _bars(look)]
    lines += [Text(f"  {wait}", style="yellow") for wait in look.waits]
    if hosts and look.hosts:
        lines.append(_hosts(look.hosts))
    return Group(*lines)


def duration(seconds: float) -> str:
    """Two units at most: `45 s`, `12 min`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < _DAY_S:
        minutes = round(seconds / _MINUTE_S)
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / _HOUR_S)
    return f"{hours // 24} d {hours % 24} h"


def _header(look: Outlook) -> Text:
    style = {"paused": "yellow", "failed": "red", "cancelled": "red", "success": "green"}
    header = Text.assemble(
        (look.batch_id, "bold"), f"  {look.flow}  ", (look.state, style.get(look.state, ""))
    )
    facts = [f"{look.items:,} items" if look.items is not None else ""]
    facts += [f"{look.rejects:,} bad lines" if look.rejects else ""]
    facts += [f"{look.chunks:,} chunks" if look.chunks else ""]
    facts += [f"{look.shards} shards" if look.shards > 1 else "", f"round {look.round}" if look.round else ""]
    return header.append("  ".join(["", *filter(None, facts), *_left(look)]))


def _bars(look: Outlook) -> Table:
    grid = Table.grid(padding=(0, 2))
    for number in range(7):
        grid.add_column(no_wrap=number in _NEVER_CUT)
    for stage in look.stages:
        finished = _finished(stage)
        bar = ProgressBar(total=max(1, stage.planned), completed=finished, width=24)
        grid.add_row(
            f"  {stage.stage}",
            bar,
            f"{finished:,}/{stage.planned:,}" if look.items is not None else "?",
            _outcome(stage),
            f"{stage.in_flight:,} in flight" if stage.in_flight else "",
            f"{stage.again:,} again" if stage.again else "",
            f"{stage.items_per_s:.1f}/s" if stage.items_per_s else "",
        )
    return grid


def _hosts(hosts: Sequence[HostView]) -> Table:
    rows = [
        (
            host.host, host.stage,
            *(f"{count:,}" for count in (host.done, host.failed, host.rejected, host.in_flight)),
            f"{host.items_per_s:.2f}", f"{host.share:.0%}",
            "" if host.seconds_per_item is None else f"{host.seconds_per_item:.3g}",
            _range(host.time_left_s), host.doing,
        )
        for host in hosts
    ]  # fmt: skip
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for number, heading in enumerate(_HEADINGS):
        # On a narrow terminal a heading takes two lines, and what a host does is cut off; no number is.
        is_last = number == len(_HEADINGS) - 1
        width = max(map(len, [*heading.split(), *(row[number] for row in rows)]))
        table.add_column(
            heading,
            justify="right" if number > 1 and not is_last else "left",
            min_width=None if is_last else width,
            no_wrap=is_last,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _range(left: Forecast | None) -> str:
    return f"{duration(left.low)} to {duration(left.high)}" if left and left.seconds else ""


def _finished(stage: StageView) -> int:
    return stage.done + stage.rejected + stage.failed


def _outcome(stage: StageView) -> str:
    """`48 done, 2 rejected`: what there is none of is left out."""
    told = {"done": stage.done, "rejected": stage.rejected, "failed": stage.failed}
    return ", ".join(f"{count:,} {what}" for what, count in told.items() if count) or "0 done"


def _left(look: Outlook) -> list[str]:
    """`about 2 h 10 min left (2 h 0 min to 2 h 30 min)`, if that is known and there is any."""
    left: Forecast | None = look.time_left_s
    if left is None or not left.seconds:
        return []
    return [f"about {duration(left.seconds)} left ({_range(left)})"]
