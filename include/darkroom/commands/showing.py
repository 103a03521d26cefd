"""`darkroom show`: one look at a batch."""

import json
from typing import Annotated

import typer
from rich.console import Console

from darkroom.commands.plants import plant
from darkroom.commands.switches import Json
from darkroom.commands.watching import drawn

_WIDE = 140
"""Characters."""


def show(batch: Annotated[str, typer.Argument(help="Name of the batch.")], as_json: Json = False) -> None:
    """Take one look at a batch: the numbers of `darkroom watch`, once.

    Keys of the JSON object: batch_id, flow, state (planning, queued, running, paused, cancelled, success,
    failed, unknown), items, rejects, chunks, shards, round, begun, stages, hosts, time_left_s (seconds, low,
    high; null when unknown), waits (why nobody works, a sentence each), run_id and run_state (of the newest
    run of image_flow), summary (the manifest's numbers; null before the first), then (what has gone on to
    other flows: route, flow, batch_id, source, items), seen (epoch seconds).

    Of each stage: stage, planned, done, rejected, failed, in_flight, again, remaining, items_per_s, waits. Of
    each host: host, stage, done, rejected, failed, in_flight, items_per_s, share, seconds_per_item,
    time_left_s (of the chunks that it has now), doing, updated.

    For example:

      darkroom show holiday

      darkroom show holiday --json | jq .time_left_s
    """
    seen = plant().sight(batch)
    if as_json:
        print(json.dumps(seen.told))
    else:
        console = Console()
        # Into a file or a pipe goes the whole table.
        console.print(drawn(seen.outlook), width=None if console.is_terminal else _WIDE)
        if seen.summary is not None:
            print(f"  manifest {seen.summary.generation}: {seen.summary}")
        for onward in seen.then:
            print(f"  then {onward}")
