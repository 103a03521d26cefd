"""`darkroom clean`: a run of `housekeeping`, and what it removed or would remove."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from darkroom.commands.batches import WorkFailed
from darkroom.commands.plants import plant
from darkroom.commands.switches import Json
from darkroom.rest.api import AirflowApi

HOUSEKEEPING = "housekeeping"
_LONGEST_S = 24 * 3600


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Otherwise only look.")] = False,
    metadata_days: Annotated[int | None, typer.Option(min=1, help="Airflow's own records.")] = None,
    progress_days: Annotated[int | None, typer.Option(min=1, help="Live numbers in Redis.")] = None,
    logs_days: Annotated[int | None, typer.Option(min=1, help="Log files of the plant's machine.")] = None,
    batches_days: Annotated[
        int | None, typer.Option(min=1, help="Batches by their newest file; kept if not set.")
    ] = None,
    images_days: Annotated[
        int | None, typer.Option(min=14, help="Pictures that no batch refers to; kept if not set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what has grown old on the plant, or with --yes remove it: a run of the DAG `housekeeping`.

    Limits are in days; those not given are those of the table `housekeeping` in the plant's darkroom.toml.
    Nothing of a run that has not ended is removed. Pictures of a batch go one run after the batch.

    Exit code 0: done; 1: a part of it failed, and the rest is done.

    For example:

      darkroom clean

      darkroom clean --batches-days 90 --images-days 14

      darkroom clean --batches-days 90 --yes
    """
    limits = {
        "metadata_days": metadata_days, "progress_days": progress_days, "logs_days": logs_days,
        "batches_days": batches_days, "images_days": images_days,
    }  # fmt: skip
    conf = {"dry_run": not yes} | {name: days for name, days in limits.items() if days is not None}
    api = plant().api
    run_id = api.trigger(HOUSEKEEPING, f"clean-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}", conf)
    api.wait(HOUSEKEEPING, run_id, _LONGEST_S)
    states = {str(ti["task_id"]): str(ti["state"]) for ti in api.task_instances(HOUSEKEEPING, run_id)}
    found = {task: _told(api, run_id, task) if state == "success" else None for task, state in states.items()}
    if as_json:
        print(json.dumps({"run_id": run_id, "dry_run": not yes, "states": states, "found": found}))
    else:
        _show(states, found, yes)
    if failed := sorted(task for task, state in states.items() if state not in ("success", "skipped")):
        raise WorkFailed(f"{', '.join(failed)} failed; see {api.url}/dags/{HOUSEKEEPING}/runs/{run_id}")


def _told(api: AirflowApi, run_id: str, task: str) -> dict[str, Any]:
    path = f"/api/v2/dags/{HOUSEKEEPING}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
    return dict(api.call("GET", path)["value"])


def _show(states: dict[str, str], found: dict[str, dict[str, Any] | None], yes: bool) -> None:
    table = Table("", "removed" if yes else "would go", "MB", "the oldest of", box=None, header_style="dim")
    notes: list[str] = []
    for task in sorted(states):
        name, told = task.removeprefix("clean_"), found[task]
        if told is None:
            table.add_row(name, "kept: no limit" if states[task] == "skipped" else states[task], "", "")
            continue
        size = f"{told['size_bytes'] / 1e6:,.1f}" if told["size_bytes"] else ""
        table.add_row(name, f"{told['count']:,} {told['things']}", size, told["oldest"])
        notes += told["notes"]
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, style="dim", markup=False, highlight=False, soft_wrap=True)
    if not yes:
        console.print("Nothing was removed; --yes does it.")
