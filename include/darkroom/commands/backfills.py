"""`darkroom backfill`: days of the past through `daily_flow`."""

import json
import time
from collections import Counter
from datetime import date, datetime
from typing import Annotated

import typer
from rich.console import Console

from darkroom.commands.batches import WorkFailed
from darkroom.commands.plants import plant
from darkroom.commands.switches import Json, Wait
from darkroom.errors import BadRequest
from darkroom.rest.api import FINAL_STATES, ride_out
from darkroom.rest.backfill import DAG_ID, REPROCESS, Backfill

console = Console(stderr=True)
_LOOK_EVERY_S = 2.0


def backfill(
    first: Annotated[datetime, typer.Argument(metavar="FROM", formats=["%Y-%m-%d"], help="The first day.")],
    last: Annotated[datetime, typer.Argument(metavar="TO", formats=["%Y-%m-%d"], help="The last day.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which days would run; start none.")] = False,
    max_active: Annotated[
        int, typer.Option(min=0, max=64, help="Days side by side; 0: as `days_at_once` says.")
    ] = 0,
    reprocess: Annotated[
        str, typer.Option(help="Days that have run: none of them, the failed, or all (completed).")
    ] = "none",
    redo: Annotated[
        int, typer.Option(min=0, max=999, help="A number: all of each day again, as batch daily-DAY-redoN.")
    ] = 0,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Run days of the past through `daily_flow`, by Airflow's backfills, below all other work.

    FROM and TO are days in the time zone of the plant's table `daily`, and both run. A day that has run
    before is left out unless --reprocess says otherwise; of a day that runs again, only what is missing or
    failed is computed. Each day is a batch, `daily-<day>`: watch, result and their like take it.

    Keys of the JSON object: backfill_id (null for a dry run, or when there was nothing to do), days (each day
    with its state: none, queued, running, success, failed).

    Exit code 0: started, or with --wait all days succeeded; 1: days failed; 2: refused, such as while another
    backfill is under way.

    For example:

      darkroom backfill 2026-11-01 2026-11-30 --dry-run

      darkroom backfill 2026-11-01 2026-11-30 --max-active 3 --wait

      darkroom backfill 2026-11-01 2026-11-30 --reprocess failed --json
    """
    if reprocess not in REPROCESS:
        raise BadRequest(f"--reprocess {reprocess!r}: choose one of {', '.join(REPROCESS)}")
    if last < first:
        raise BadRequest(f"{last:%Y-%m-%d} is before {first:%Y-%m-%d}")
    there = plant()
    conf = {"redo": redo} if redo else {}
    asked = Backfill(there.api, there.daily(), first.date(), last.date(), reprocess, max_active, conf)
    days = asked.days()
    number = asked.start() if days and not dry_run else None
    states = dict.fromkeys(days, "none")
    if number is not None and wait:
        states = _watched(asked, days, number)
    if as_json:
        print(json.dumps({"backfill_id": number, "days": {f"{day}": state for day, state in states.items()}}))
    else:
        _tell(days, number, wait)
    if failed := [f"{day}" for day, state in states.items() if state == "failed"]:
        raise WorkFailed(
            f"{len(failed)} of {len(days)} days failed: {', '.join(failed)}; "
            f"see {there.api.url}/dags/{DAG_ID}"
        )


def _watched(asked: Backfill, days: list[date], number: int) -> dict[date, str]:
    """Look until all days have ended; a line whenever something has."""
    look, complete = ride_out(asked.states), ride_out(asked.complete)
    said = ""
    while True:
        states = look(days)
        counts = Counter(states.values())
        line = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        if line != said:
            console.print(f"backfill {number}: {len(days)} days: {line}", highlight=False)
            said = line
        if all(state in FINAL_STATES for state in states.values()) and complete(number):
            return states
        time.sleep(_LOOK_EVERY_S)


def _tell(days: list[date], number: int | None, waited: bool) -> None:
    if not days:
        print("nothing to do: these days have run, are running, or have not ended; see --reprocess")
    elif number is None:
        print("\n".join(map(str, days)))
    elif not waited:
        print(f"backfill {number}: {len(days)} days, {days[0]} to {days[-1]}, as batches daily-<day>")
