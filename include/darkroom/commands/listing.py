"""`darkroom batches`: which batches there are."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from darkroom import stack
from darkroom.commands.connection import DAG_ID, api, redis_url, store
from darkroom.commands.switches import Json
from darkroom.errors import BadRequest, NotAllowed
from darkroom.flows import FLOWS
from darkroom.live.progress import Counts
from darkroom.rest.api import ApiError
from darkroom.results.manifest import current
from darkroom.settings import settings
from darkroom.store.batches import Batch
from darkroom.store.storage import Store
from darkroom.views.looking import Lookout, state_of

_READERS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One batch. The fields are keys of the JSON object."""

    batch_id: str
    flow: str
    state: str
    """planning, queued, running, paused, cancelled, success, failed; unknown: it was lost track of."""
    started: str
    """When it was asked for, in UTC."""
    source: str
    items: int | None
    """Planned; null before the plan is committed."""
    finished: int
    """Of them, those that the last stage, or the newest manifest, has finished with."""
    summary: str
    """What the newest manifest says; empty before the first."""


def batches(
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many of the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """List batches, the newest first: name, flow, state, progress, when it was started.

    With --json: `{"batches": [...], "total": ...}`, and of each batch_id, flow, state, started, source,
    items, finished, summary.

    For example:

      darkroom batches

      darkroom batches --json | jq -r '.batches[] | select(.state == "failed") | .batch_id'
    """
    asked = _asked(held := store())
    live, runs = Lookout.at(redis_url()), _run_states()
    lines = [_line(Batch(held, name), when, live, runs) for name, when in asked[:number]]
    if as_json:
        print(json.dumps({"batches": [asdict(line) for line in lines], "total": len(asked)}))
        return
    table = Table("batch", "flow", "state", "items", "finished", "started", box=None, header_style="dim")
    for line in lines:
        items = "" if line.items is None else f"{line.items:,}"
        share = f"{line.finished / line.items:.0%}" if line.items else ""
        started = datetime.fromisoformat(line.started).astimezone()
        table.add_row(line.batch_id, line.flow, line.state, items, share, f"{started:%Y-%m-%d %H:%M}")
    Console().print(table)
    if len(asked) > len(lines):
        print(f"{len(asked) - len(lines)} older ones: darkroom batches -n {len(asked)}")


def _asked(store: Store) -> list[tuple[str, float]]:
    """Every batch and when it was asked for, the newest first."""

    def when(name: str) -> float | None:
        try:
            return store.stat(Batch(store, name).request_path).modified_s
        except (FileNotFoundError, BadRequest):  # a folder of somebody else's
            return None

    names = store.folders("batches")
    with ThreadPoolExecutor(_READERS, thread_name_prefix="batches") as threads:
        found = [
            (name, at) for name, at in zip(names, threads.map(when, names), strict=True) if at is not None
        ]
    return sorted(found, key=lambda entry: -entry[1])


def _run_states() -> dict[str, str]:
    """States of the newest runs by batch; none while the API is away."""
    if not (stack.is_running() or settings().api_url):
        return {}
    try:
        runs = api().newest_runs(DAG_ID)
    except (ApiError, NotAllowed):
        return {}
    return {run.batch_id: run.state for run in reversed(runs)}  # of several, the newest stays


def _line(batch: Batch, when: float, live: Lookout, runs: dict[str, str]) -> Line:
    request, summary = batch.request(), current(batch)
    seen = live.progress.read(batch.batch_id)
    wish = live.control.state(batch.batch_id)
    known = runs.get(batch.batch_id) or seen.ended
    if not known and summary is not None:  # forgotten by all but the store
        known = "failed" if summary.failed_ratio > request.max_failed_ratio else "success"
    last = seen.stages.get(FLOWS[request.flow].stages[-1], Counts())
    return Line(
        batch_id=batch.batch_id,
        flow=request.flow,
        state=state_of(known, wish, seen) if known else wish or "unknown",
        started=datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds"),
        source=request.source,
        items=summary.items if summary else seen.items,
        finished=summary.items - summary.undone if summary else last.total,
        summary=str(summary) if summary else "",
    )
