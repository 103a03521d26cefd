"""`darkroom stage new | check | list`: models of one's own."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from darkroom.commands.checking import Wanted, examine
from darkroom.commands.skeleton import Gives, Skeleton, Takes, write
from darkroom.commands.stage_tables import console, file_of, origin, short, show_list, show_report
from darkroom.commands.switches import Json
from darkroom.errors import BadRequest, DarkroomError
from darkroom.flows import FLOWS, SHIPPED_FLOWS, STAGES
from darkroom.settings import config_file, settings

app = typer.Typer(name="stage", add_completion=False, no_args_is_help=True)


class ContractBroken(DarkroomError):
    """The stage does not do what the plant relies on."""

    code = "contract_broken"


@app.callback()
def stage() -> None:
    """Bring a model of your own: one class, one row.

    For example:

      darkroom stage new sepia      a class that works, and its row

      darkroom stage check sepia    is it right, how fast, how much memory

      darkroom stage list           all stages and flows

    docs/how-to/bring-a-model.md walks through it.
    """


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the stage and its module, such as sepia.")],
    takes: Annotated[Takes, typer.Option(help="What it works on.")] = "image",
    gives: Annotated[Gives, typer.Option(help="A picture, or whether one is accepted.")] = "image",
) -> None:
    """Write a class that works as it stands, its row and a flow.

    The class comes into custom/ (or $DARKROOM_CODE), the row to the end of darkroom.toml (or
    $DARKROOM_CONFIG). What is there already is left as it is.

    For example:

      darkroom stage new sepia                       an image to an image

      darkroom stage new too_dark --gives verdict    as `inspect` does

      darkroom stage new paint --takes prompt        as `generate` does
    """
    if (takes, gives) == ("prompt", "verdict"):
        raise BadRequest("--takes prompt --gives verdict: there would be no picture; let it take the image")
    skeleton = Skeleton(name, takes, gives)
    path = write(skeleton, settings().code, config_file())
    steps = (
        ("edit", short(path)),
        ("check", f"darkroom stage check {name}"),
        ("start", "darkroom down; darkroom up"),
        ("use", f"darkroom submit examples/prompts.csv --flow {skeleton.flow} --wait"),
    )
    console.print(
        f"[bold]{escape(short(path))}[/] and its row in [bold]{escape(short(config_file()))}[/]. Now:",
        soft_wrap=True,
    )
    for what, how in steps:
        console.print(f"  {what:<6} {escape(how)}", highlight=False, soft_wrap=True)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Of a stage, as `darkroom stage list` shows it.")],
    batch_sizes: Annotated[str, typer.Option(help="Which batches are measured.")] = "1,2,4,8",
    seconds: Annotated[float, typer.Option(min=0, help="How long each of them is measured.")] = 2.0,
    prompt: Annotated[str | None, typer.Option(help="Measure with this prompt, not the sample.")] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--input", exists=True, dir_okay=False, help="Measure with this picture."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Load a stage in a process of its own, hold it to its contract, measure it.

    No plant needs to run. It recommends the smallest batch within 5 % of the best throughput that keeps
    within memory_mb and deadline_s. What hangs is ended after load_s or deadline_s.

    Exit code 0: it keeps the contract; 1: it breaks it, and each line says what to do.

    For example:

      darkroom stage check sepia

      darkroom stage check sepia --input examples/photos/cat.jpg --batch-sizes 1,4,16 --seconds 5

      darkroom stage check generate --prompt "a red circle" --json | jq .recommended
    """
    if name not in STAGES:
        raise BadRequest(f"NAME {name!r}: no such stage; there are: {', '.join(STAGES)}")
    wanted = Wanted(_sizes(batch_sizes), seconds, prompt, picture)
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description:<20}"), BarColumn(bar_width=30), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        row = bar.add_task("", total=1)
        report = examine(
            STAGES[name], wanted, lambda what, done: bar.update(row, description=what, completed=done)
        )
    if as_json:
        print(json.dumps({**report.model_dump(), "ok": report.ok}))
    else:
        item = "your item" if prompt or picture else "the sample; --input or --prompt measures a real item"
        show_report(report, STAGES[name], f"measured with {item}")
    if not report.ok:
        raise ContractBroken(f"stage {name} does not keep the contract")


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """Show every stage and every flow, those that ship with us and your own.

    For example:

      darkroom stage list

      darkroom stage list --json | jq '.stages[] | select(.origin == "own")'
    """
    if as_json:
        stages = [
            {**asdict(stage), "queue": stage.queue, "pool": stage.pool, "file": file_of(stage),
             "origin": origin(stage)} for stage in STAGES.values()
        ]  # fmt: skip
        flows = [
            {**asdict(flow), "origin": "shipped" if name in SHIPPED_FLOWS else "own"}
            for name, flow in FLOWS.items()
        ]
        print(json.dumps({"stages": stages, "flows": flows}, indent=1))
        return
    show_list()


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError as error:
        raise BadRequest(f"--batch-sizes {text!r}: numbers with commas, such as 1,2,4,8") from error
    if sizes[0] < 1:
        raise BadRequest(f"--batch-sizes {text!r}: a batch has at least one item")
    return sizes
