"""`darkroom top`: the whole plant in the terminal, live."""

import time
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from darkroom.commands.connection import api
from darkroom.commands.switches import Json
from darkroom.commands.watching import duration
from darkroom.rest.api import AirflowApi, ride_out
from darkroom.views.overview import BatchNow, Overview, Quantiles, ServerNow, StageNow, WhatIf

LOOK_EVERY_S = 2.0
_BARS = " ▁▂▃▄▅▆▇█"
_COLUMNS = 15
"""Of the chart: what is cut off at the right would be what is new."""
_BATCHES, _SERVERS = 20, 30
"""Rows at most: a screen has no more."""
_STYLES = {
    "stage": "bold yellow",
    "no_server": "bold red",
    "plant": "bold red",
    "unknown": "bold red",
    "none": "bold green",
}
_STATES = {"ready": "green", "fenced": "red", "stopped": "red", "failed": "red", "success": "green"}


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    as_json: Json = False,
) -> None:
    """Show the plant live: where the bottleneck is, stages, batches, servers. Ctrl-C ends it.

    Of each stage: servers, busy lanes, chunks that wait, items a second in and out, how long chunks take
    (p50, p95), how busy its servers are, the wait by Little's law and as measured, and what one server more
    or less would change of the time left. docs/how-to/see-the-plant.md explains each number.

    With --json: the object of GET /darkroom/api/plant, once.

    For example:

      darkroom top

      darkroom top --json | jq -r .bottleneck.sentence
    """
    plant = api()
    if as_json:
        typer.echo(_look(plant).model_dump_json(indent=1))
        return
    console = Console()
    if once or not console.is_terminal:
        console.print(drawn(_look(plant)))
        return
    with Screen(console=console, auto_refresh=False, screen=True) as screen:
        while True:
            screen.update(drawn(_look(plant)), refresh=True)
            time.sleep(LOOK_EVERY_S)


@ride_out
def _look(plant: AirflowApi) -> Overview:
    return Overview.model_validate(plant.darkroom("GET", "/api/plant"))


def drawn(plant: Overview) -> RenderableType:
    """The plant as a sentence and three tables."""
    rows: list[RenderableType] = [
        Text(plant.bottleneck.sentence, style=_STYLES[plant.bottleneck.kind]),
        *(Text(f"{who} does not answer: what it knows is missing", style="red") for who in plant.unknown),
    ]
    if plant.stages:
        rows += ["", _stages(plant.stages)]
    if plant.batches:
        rows += ["", _batches(plant)]
    if plant.servers:
        rows += ["", _servers(plant.servers)]
    return Group(*rows)


def _stages(stages: list[StageNow]) -> Table:
    table = _table(
        "stage", "servers", "lanes busy", "waiting", "items left", "in /s", "out /s", "chunk p50 p95", "busy",
        "wait law measured", "left", "one less", "one more",
    )  # fmt: skip
    for one in stages:
        servers = f"{one.servers.ready}" + (f" +{one.servers.fenced} fenced" if one.servers.fenced else "")
        waiting = f"{one.waiting.scheduler + one.waiting.broker}"
        resting = one.waiting.paused + one.waiting.put_back
        _add(
            table, one.stage, servers, f"{one.lanes.busy}/{one.lanes.busy + one.lanes.idle}",
            waiting + (f" +{resting} put back" if resting else ""), f"{one.items_remaining:,}",
            f"{one.items_per_s_in:.2f}", f"{one.items_per_s_out:.2f}", _quantiles(one.chunk_s),
            "" if one.utilisation is None else f"{one.utilisation:.0%}",
            f"{_seconds(one.wait.expected_s)} {_seconds(one.wait.measured_s)}", _seconds(one.time_left_s),
            _what_if(one.fewer), _what_if(one.more),
        )  # fmt: skip
    return table


def _batches(plant: Overview) -> Table:
    table = _table("batch", "flow", "state", "done", "failed", "rejected", "left", "last half hour")
    table.columns[-1].min_width = _COLUMNS
    for one in plant.batches[:_BATCHES]:
        look, last = one.outlook, one.outlook.stages[-1]
        left = look.time_left_s
        _add(
            table, look.batch_id, look.flow, Text(look.state, style=_STATES.get(look.state, "")),
            "?" if look.items is None else f"{last.done:,}/{look.items:,}",
            f"{sum(stage.failed for stage in look.stages):,}", f"{last.rejected:,}",
            f"{duration(left.seconds)} ({duration(left.low)} to {duration(left.high)})" if left else "",
            _spark(one, plant.slot_s),
        )  # fmt: skip
    hidden = max(0, len(plant.batches) - _BATCHES) + plant.batches_left_out
    if hidden:
        table.add_row(f"and {hidden} more")
    return table


def _servers(servers: list[ServerNow]) -> Table:
    table = _table("server", "state", "items /s", "usual", "MB", "°C", "what it does")
    for one in servers[:_SERVERS]:
        chunks = ", ".join(f"{chunk.batch_id} {chunk.chunk_id}" for chunk in one.chunks)
        trouble = (
            one.reason or "; ".join(one.errors) or (f"restarted: {one.last_end}" if one.last_end else "")
        )
        _add(
            table, one.server, Text(one.state, style=_STATES.get(one.state, "yellow")),
            f"{one.items_per_s:.2f}",
            "" if one.usual_items_per_s is None else f"{one.usual_items_per_s:.2f}", f"{one.memory_mb:,}",
            str(one.gpu.temperature_c) if one.gpu else "", Text("  ".join(filter(None, [chunks, trouble]))),
        )  # fmt: skip
    if len(servers) > _SERVERS:
        table.add_row(f"and {len(servers) - _SERVERS} more")
    return table


def _table(*headings: str) -> Table:
    """On a narrow terminal headings take more lines; what a row is about is not cut off."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in headings:
        is_first = heading == headings[0]
        table.add_column(heading, overflow="fold", no_wrap=is_first, min_width=8 if is_first else None)
    return table


def _add(table: Table, *cells: str | Text) -> None:
    """A row; no name of a batch or a reason is markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))


def _spark(one: BatchNow, slot_s: float) -> str:
    """Items that all stages have computed, as a line of bars; several slots a bar."""
    slots = [sum(values) * slot_s for values in zip(*one.items_per_s.values(), strict=True)]
    width = -(-len(slots) // _COLUMNS) or 1
    sums = [sum(slots[begin : begin + width]) for begin in range(0, len(slots), width)]
    most = max(sums, default=0)
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] for value in sums) if most else ""


def _quantiles(told: Quantiles | None) -> str:
    return f"{_seconds(told.p50)} {_seconds(told.p95)}" if told else ""


def _what_if(told: WhatIf | None) -> str:
    if told is None or told.change is None:
        return "" if told is None or told.time_left_s is not None else "never"
    return f"{told.change:+.0%}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if 0 < seconds < 10 else duration(seconds)  # noqa: PLR2004
