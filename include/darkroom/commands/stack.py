"""`darkroom up | down | status | logs | env`: the plant on one machine."""

import json
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from darkroom import stack
from darkroom.commands.switches import Json
from darkroom.errors import BadRequest
from darkroom.fleet.servers import Fleet, FleetUnknown
from darkroom.serving.status import State
from darkroom.stack.credentials import ADMIN
from darkroom.stack.env_file import write_host, write_plant
from darkroom.stack.home import Home
from darkroom.stack.join import Join
from darkroom.stack.leftovers import find_leftovers
from darkroom.stack.lifecycle import remove_state

console = Console()
_HEALTHY = 0
_NOT_HEALTHY = 1


def up() -> None:
    """Start the plant and wait until every part of it works.

    PostgreSQL, Valkey, Airflow, a worker and a resident model server per GPU and stage; all on loopback,
    everything below .darkroom/ (or $DARKROOM_HOME). What runs already is left alone. Ctrl-C ends what this
    call has started.

    For example:

      darkroom up

      DARKROOM_HOME=/tmp/second darkroom up      (a second plant beside the first, on other ports)
    """
    end_like_ctrl_c()
    for warning in stack.up():
        Console(stderr=True).print("[yellow]warning:[/]", escape(warning), soft_wrap=True)
    console.print(
        f"Airflow UI  {stack.api_url()}\nuser        {ADMIN}\npassword    {stack.admin_password()}",
        highlight=False,
    )


def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Then remove the state folder: data, pictures, logs, secrets.")
    ] = False,
) -> None:
    """Stop the plant: running chunks end at an item boundary and go on after the next start.

    Also ends what a crash left behind. Without --purge the data stay.
    """
    if not stack.down():
        console.print("nothing was running")
    if purge:
        remove_state(Home.current())


def status(
    as_json: Json = False,
) -> None:
    """Show each part's state, process, memory, and what it waits for.

    Then how many model servers are ready, on all machines; more of them says `darkroom fleet`. Exit code 0
    when every part is healthy, else 1.

    For example:

      darkroom status

      darkroom status --json | jq '.parts[] | select(.state != "healthy")'
    """
    parts = stack.status()
    if not stack.is_running() and (left := find_leftovers(Home.current())):
        note = f"{len(left)} processes of a crashed stack are left; `darkroom up` or `down` ends them"
        Console(stderr=True).print(f"[yellow]warning:[/] {note}", soft_wrap=True)
    healthy = all(part.state == "healthy" for part in parts)
    if as_json:
        typer.echo(json.dumps({"healthy": healthy, "parts": [asdict(part) for part in parts]}, indent=1))
    else:
        table = Table("part", "state", "pid", "memory", "up", "waits for")
        for part in parts:
            memory = f"{part.memory_bytes / 2**20:.0f} MB" if part.memory_bytes else ""
            uptime = f"{part.uptime_s} s" if part.uptime_s else ""
            waits = ", ".join(part.waits_for)
            table.add_row(part.name, part.state, str(part.pid or ""), memory, uptime, waits)
        total = sum(part.memory_bytes for part in parts) / 2**20
        table.add_row("[bold]all[/]", "healthy" if healthy else "not healthy", "", f"{total:.0f} MB", "", "")
        console.print(table)
        _say_fleet()
    raise typer.Exit(_HEALTHY if healthy else _NOT_HEALTHY)


def _say_fleet() -> None:
    """One line on the model servers of all machines, where the plant can be asked."""
    try:
        servers = Fleet(Join.find().redis_url).servers()
    except (BadRequest, FleetUnknown):
        return
    out = [f"{server.worker} is {server.state}" for server in servers if server.state is not State.READY]
    ready = f"fleet: {len(servers) - len(out)} of {len(servers)} servers ready"
    console.print("; ".join([ready, *out]) + "; see: darkroom fleet", highlight=False, soft_wrap=True)


def logs(
    part: Annotated[str, typer.Argument(help="A part, as `darkroom status` names it.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as the log grows.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Show the end of a part's log, or of all of them.

    For example:

      darkroom logs scheduler -n 200

      darkroom logs worker-generate-1 -f
    """
    home = Home.current()
    known = sorted(path.stem for path in home.logs.glob("*.log"))
    if part and part not in known:
        raise BadRequest(f"no log of {part!r}; there are: {', '.join(known) or 'none yet'}")
    paths = [str(home.log(name)) for name in ([part] if part else known)]
    if not paths:
        raise BadRequest(f"no logs below {home.logs} yet; `darkroom up` starts the plant")
    # By name, so that it goes on when the log is rotated.
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), *paths]
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603


def env(
    path: Annotated[Path, typer.Option(help="Where to write it.")] = Path(".env"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    s3: Annotated[bool, typer.Option("--s3", help="Run an S3 server too; pictures lie there.")] = False,
    for_host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Write what a further host's containers need instead.")
    ] = "",
    plant: Annotated[Path, typer.Option(help="With --for-host: the plant's own .env.")] = Path(".env"),
    for_worker: Annotated[
        bool, typer.Option("--for-worker", help="Write the way to the plant of `darkroom up` instead.")
    ] = False,
) -> None:
    """Write freshly generated secrets for containers into .env, readable by you only.

    PostgreSQL, Valkey, Airflow's keys, the password of the UI's user `admin`, that of the plant's own
    parts, Prometheus's token, each new and random. An existing file is kept unless --force is given. Then
    `docker compose up -d`.

    With --for-host: what the containers of a further machine need to work for that plant, which they reach at
    ADDRESS: broker, API and store; neither the database's password nor a signing key.

    With --for-worker: the same for `darkroom worker --plant FILE` on another machine, without containers,
    when the plant is the one that `darkroom up` runs here.

    For example:

      darkroom env

      darkroom env --s3

      darkroom env --for-host 10.0.0.5 --path host.env

      darkroom env --for-worker --path worker.env
    """
    if for_worker:
        Join.of(stack.Stack.load()).write(path, force=force)
    elif for_host:
        write_host(path, plant, for_host, force=force)
    else:
        write_plant(path, s3=s3, force=force)
    console.print(f"wrote {path}")


def end_like_ctrl_c() -> None:
    """A service manager's TERM and a closed terminal are to leave as little behind as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` asks for
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
