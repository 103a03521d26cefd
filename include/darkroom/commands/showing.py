"""`darkroom show`: one look at a batch."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from darkroom.api import ApiError
from darkroom.commands.batches import Json, summary_of
from darkroom.commands.connection import DAG_ID, api, existing, redis_url
from darkroom.commands.looking import Lookout
from darkroom.commands.watching import drawn
from darkroom.errors import BadRequest

_WIDE = 140
"""Characters."""


def show(batch: Annotated[str, typer.Argument(help="Name of the batch.")], as_json: Json = False) -> None:
    """Take one look at a batch: the numbers of `darkroom watch`, once.

    Keys of the JSON object: batch_id, flow, state (planning, queued, running, paused, cancelled, success,
    failed, unknown), items, rejects, chunks, shards, round, begun, stages, hosts, time_left_s (seconds, low,
    high; null when unknown), waits (why nobody works, a sentence each), summary (the manifest's numbers; null
    before the first), seen (epoch seconds).

    Of each stage: stage, planned, done, rejected, failed, in_flight, again, remaining, items_per_s, waits. Of
    each host: host, stage, done, rejected, failed, in_flight, items_per_s, share, seconds_per_item, doing,
    updated.

    For example:

      darkroom show holiday

      darkroom show holiday --json | jq .time_left_s
    """
    request = existing(batch).request()
    live = Lookout.at(redis_url())
    try:
        state = api().newest_run(DAG_ID, batch).state
    except (ApiError, BadRequest):  # the plant is down, or forgot the run: what the store holds is still true
        state = live.progress.read(batch).ended or "unknown"
    look = live.look(batch, request.flow, state)
    summary = summary_of(batch)
    if as_json:
        told = {**asdict(look), "waits": look.waits, "summary": summary and summary.model_dump(mode="json")}
        print(json.dumps(told))
    else:
        console = Console()
        # Into a file or a pipe goes the whole table.
        console.print(drawn(look), width=None if console.is_terminal else _WIDE)
        if summary is not None:
            print(f"  manifest {summary.generation}: {summary}")
