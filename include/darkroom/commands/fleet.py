"""`darkroom fleet | fence | unfence`: every server of the fleet, and taking one out of it."""

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from darkroom.commands.switches import Json
from darkroom.errors import BadRequest
from darkroom.fleet.fence import Fence, fence_file
from darkroom.fleet.roster import Entry, machines, roster
from darkroom.fleet.servers import Fleet, waiting
from darkroom.flows import STAGES
from darkroom.live.rates import Rates
from darkroom.serving.status import ServerStatus, State, status_file
from darkroom.settings import settings
from darkroom.stack.home import Home
from darkroom.stack.join import Join

console = Console()
_COLOURS = {State.READY: "green", State.FENCED: "red", State.WAITING: "red"}
_UNITS_S = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_ServerName = Annotated[str, typer.Argument(help="A server of this machine, as `darkroom fleet` names it.")]


def fleet(
    as_json: Json = False,
) -> None:
    """Show every model server of the fleet, on the plant's machine and on those that joined.

    What each is doing and for how long, why it is not ready or was last restarted, its device, its lanes,
    how long its model takes for an item as measured lately, its memory, its GPU's temperature. Then the
    stages that no server takes chunks of: what needs them waits.

    A server is `fenced` when two chunks in a row failed by its host's own fault: it takes none until its
    time is over and it has answered a canary since, 30 s at first and ever longer up to 15 minutes.

    For example:

      darkroom fleet

      darkroom fleet --json | jq '.servers[] | select(.state != "ready") | {host, name, reason}'
    """
    redis_url = settings().redis_url.get_secret_value() or Join.find().redis_url
    servers = Fleet(redis_url).servers()
    entries, why = roster(servers, Rates(redis_url)), waiting(servers, STAGES)
    if as_json:
        found: dict[str, Any] = {
            "servers": [_as_dict(entry) for entry in entries],
            "machines": [asdict(machine) for machine in machines(entries)],
            "waiting": why,
        }
        typer.echo(json.dumps(found, indent=1))
        return
    console.print(_table(entries))
    for machine in machines(entries):
        fenced = f", {machine.fenced} fenced" if machine.fenced else ""
        console.print(
            f"{machine.host}: {machine.ready} of {machine.servers} servers ready{fenced}, "
            f"{machine.lanes} lanes", highlight=False, soft_wrap=True,
        )  # fmt: skip
    for stage, reason in why.items():
        console.print(
            f"[yellow]{stage}:[/] its chunks wait: {escape(reason)}", highlight=False, soft_wrap=True
        )


def fence(
    server: _ServerName,
    reason: Annotated[str, typer.Option(help="Shown to whoever looks at the fleet.")] = "by hand",
) -> None:
    """Take a server of this machine out of the fleet, until `darkroom unfence`.

    It goes on running and takes no more chunks; those that run end at an item boundary and go on elsewhere.

    For example:

      darkroom fence generate-gpu1 --reason "the fan is loud"
    """
    _fence_of(server).put_up(reason)
    console.print(f"{server} is fenced; `darkroom unfence {server}` takes it back", highlight=False)


def unfence(server: _ServerName) -> None:
    """Take a fenced server of this machine back, whoever fenced it; its failures are forgotten.

    For example:

      darkroom unfence generate-gpu1
    """
    stood = _fence_of(server).take_down()
    console.print(f"{server} takes chunks again" if stood else f"{server} was not fenced", highlight=False)


def _fence_of(name: str) -> Fence:
    homes = [Home.current(), *Home.current().workers()]
    for home in homes:
        if ServerStatus.read(status_file(home.path, name)):
            return Fence(fence_file(home.path, name))
    files = [path for home in homes for path in (home.path / "run" / "servers").glob("*.json")]
    names = ", ".join(sorted(path.stem for path in files if path.suffixes == [".json"]))
    raise BadRequest(
        f"this machine has no server {name!r}; it has: {names or 'none'}. "
        "A server of another machine is fenced there, or on the board"
    )


def _table(entries: list[Entry]) -> Table:
    table, now = Table(), time.time()
    for name in ("server", "host", "state", "for", "device", "lanes", "s/item", "MB", "°C", "why"):
        table.add_column(name, no_wrap=name in {"server", "state", "for", "MB"})
    for entry in entries:
        colour = _COLOURS.get(State(entry.state), "yellow")
        device, temperature = entry.device, ""
        if entry.gpu is not None:
            device, temperature = f"{entry.gpu.name} ({entry.gpu.index})", str(entry.gpu.temperature_c)
        table.add_row(
            entry.name, entry.host, f"[{colour}]{entry.state}[/]",
            span(now - entry.since) if entry.since else "", device, str(entry.lanes),
            f"{entry.seconds_per_item:.3g}" if entry.seconds_per_item is not None else "",
            f"{entry.memory_mb}/{entry.memory_limit_mb}", temperature, escape(_why(entry)),
        )  # fmt: skip
    return table


def _why(entry: Entry) -> str:
    if entry.reason:
        return entry.reason
    return f"restarted: {entry.last_end}" if entry.last_end else ""


def span(seconds: float) -> str:
    """A length of time in one unit: `3 min`."""
    for unit_s, unit in _UNITS_S:
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return "0 s"


def _as_dict(entry: Entry) -> dict[str, Any]:
    gpu = entry.gpu.model_dump() if entry.gpu else None
    return {key: value for key, value in asdict(entry).items() if key != "gpu"} | {"gpu": gpu}
