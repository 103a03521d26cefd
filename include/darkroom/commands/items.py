"""`darkroom item`: one item of a batch."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from darkroom.commands.connection import existing, redis_url
from darkroom.commands.switches import Json
from darkroom.live.progress import Progress
from darkroom.results.whereabouts import Step, Whereabouts, whereabouts

console = Console()


def item(
    batch: Annotated[str, typer.Argument(help="Name of the batch.")],
    custom_id: Annotated[str, typer.Argument(help="The item's own name in the source.")],
    as_json: Json = False,
) -> None:
    """Say where one item of a batch is, and what became of it: state, chunk, host, picture, tries, error.

    States: waiting (its chunk has not begun), scheduled (its chunk was put back, or waits for the next
    stage), running (its chunk is at work), and for good completed, rejected, failed, timed_out. An item that
    goes round again has a line per round.

    Keys of the JSON object: batch_id, custom_id, state, chunk, shard, host,
    image_uri, seed, attempts, error, item (as planned), rounds (of each: round, chunk, shard, state, seed,
    where, host, image_uri, attempts, error, verdict, steps: per stage status, host, model, attempts, seconds,
    known).

    Exit code 2: there is no such item; if it was refused, the message says in which line and why.

    For example:

      darkroom item holiday IMG_0042

      darkroom item holiday IMG_0042 --json | jq -r .image_uri
    """
    found = whereabouts(existing(batch), custom_id, Progress(redis_url()))
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        _show(found)


def _show(found: Whereabouts) -> None:
    console.print(
        f"{found.custom_id} of {found.batch_id}: {found.state}", style="bold", markup=False, highlight=False
    )
    place = f"{found.chunk}" + (f", shard {found.shard}" if found.shard else "")
    error = f"{found.error['code']}: {found.error['message']}" if found.error else ""
    rows = {
        "chunk": place, "host": found.host or "", "picture": found.image_uri or "",
        "seed": str(found.seed), "tries": str(found.attempts), "error": error,
    }  # fmt: skip
    for name, value in rows.items():
        if value:
            console.print(f"  {name:<8} {value}", soft_wrap=True, markup=False, highlight=False)
    for one in found.rounds:
        reasons = f" ({', '.join(one.verdict['reasons'])})" if one.verdict and one.verdict["reasons"] else ""
        line = f"  round {one.round}, chunk {one.chunk}: {one.state}{reasons}, {one.where}"
        console.print(line, soft_wrap=True, markup=False, highlight=False)
        for step in one.steps:
            console.print(f"    {_told(step)}", soft_wrap=True, markup=False, highlight=False)


def _told(step: Step) -> str:
    known = f", {datetime.fromtimestamp(step.known).astimezone():%Y-%m-%d %H:%M:%S}" if step.known else ""
    tries = "found, not computed"
    if step.attempts:
        tries = f"{step.attempts} {'try' if step.attempts == 1 else 'tries'}"
    return f"{step.stage}: {step.status} on {step.host}, {tries}, {step.seconds:.2f} s{known}"
