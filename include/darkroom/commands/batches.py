"""`darkroom submit | watch | verify`: start batches, look at them, check them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from darkroom import stack
from darkroom.api import AirflowApi
from darkroom.batches import Batch
from darkroom.commands.watching import DAG_ID, Watched, watch
from darkroom.errors import BadRequest, DarkroomError
from darkroom.flows import DEFAULT_FLOW, FLOWS
from darkroom.manifest import Summary, VerifyReport, current
from darkroom.manifest import verify as verify_batch
from darkroom.progress import Progress
from darkroom.records import batch_id_for
from darkroom.settings import settings
from darkroom.sources import open_source
from darkroom.storage import open_store

console = Console(stderr=True)


class WorkFailed(DarkroomError):
    """The batch did not come out as it should."""

    code = "work_failed"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def submit(
    source: Annotated[str, typer.Argument(help="A JSONL or CSV file, or a folder of pictures.")],
    flow: Annotated[str, typer.Option(help=f"One of {', '.join(FLOWS)}.")],
    batch: Annotated[
        str | None, typer.Option(help="Name of the batch; default: made from the source.")
    ] = None,
    options: Annotated[str, typer.Option(help='Per stage, as JSON: \'{"generate": {"steps": 8}}\'.')] = "{}",
    respins: Annotated[int, typer.Option(help="How often a rejected item is tried with a new seed.")] = 1,
    max_failed_ratio: Annotated[float, typer.Option(help="Share of failed items that fails the run.")] = 0.05,
    priority: Annotated[str, typer.Option(help="bulk, normal or interactive.")] = "normal",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress and end when the batch does.")] = False,
    as_json: Json = False,
) -> None:
    """Start a batch.

    The source must lie under an allowed root: examples/, inputs/, or what DARKROOM_SOURCE_ROOTS lists.

    For example:

      darkroom submit examples/prompts.jsonl --flow A_C --wait

      darkroom submit inputs/photos --flow B_C --batch holiday --options '{"enhance": {"scale": 2}}'
    """
    if flow not in FLOWS:
        raise BadRequest(f"--flow {flow!r}: choose one of {', '.join(FLOWS)}")
    if Path(source).exists():  # as seen from here; the plant looks from its own folder
        source = str(Path(source).resolve())
    open_source(source, settings().source_roots)
    started = start(source, flow, batch, {
        "options": _json_object(options), "respins": respins,
        "max_failed_ratio": max_failed_ratio, "priority": priority,
    })  # fmt: skip
    if wait:
        _finish([started], as_json)
    elif as_json:
        print(json.dumps({"batch_id": started.batch_id, "run_id": started.run_id}))
    else:
        print(f"batch {started.batch_id} started; see: darkroom watch {started.batch_id}")


def watch_batch(
    batch: Annotated[str, typer.Argument(help="Name of the batch.")], as_json: Json = False
) -> None:
    """Show a batch's progress until it ends: items done, rejected and failed by stage, rate, time left.

    Exit code 0: the run succeeded; 1: it failed.
    """
    run_id = api().run_of_batch(DAG_ID, batch)
    flow = api().run_conf(DAG_ID, run_id).get("flow", DEFAULT_FLOW)
    _finish([Watched(batch, run_id, flow)], as_json)


def verify(batch: Annotated[str, typer.Argument(help="Name of the batch.")], as_json: Json = False) -> None:
    """Check that every planned item has exactly one row, and every file exists and is whole.

    Exit code 0: the manifest is complete and true; 1: it is not, and what is wrong is listed.
    """
    if not _batch(batch).exists():
        raise BadRequest(f"there is no batch {batch!r} in {settings().store_url}")
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        row = bar.add_task("rows", total=None)
        report = verified(batch, lambda done, total: bar.update(row, completed=done, total=total))
    if as_json:
        print(report.model_dump_json())
    else:
        for problem in report.problems:
            console.print(problem, style="red", markup=False, soft_wrap=True)
        print(report)
    if not report.ok:
        raise WorkFailed(f"batch {batch} does not verify")


def start(source: str, flow: str, batch: str | None, params: dict[str, Any]) -> Watched:
    """Trigger `image_flow`; the run's id is the batch's name, so the same name starts one run."""
    batch_id = batch or batch_id_for(None, f"{Path(source).stem}-{flow}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    conf = {"flow": flow, "source": source, "batch_id": batch_id, **params}
    return Watched(batch_id, api().trigger(DAG_ID, batch_id, conf), flow)


def follow(watched: list[Watched]) -> dict[str, str]:
    """Watch until all have ended; final states by batch id."""
    redis_url = stack.environment()["DARKROOM_REDIS_URL"]
    return watch(watched, api(), Progress(redis_url), console)


def api() -> AirflowApi:
    """A session with the running stack's API."""
    return AirflowApi(stack.api_url(), "admin", stack.admin_password())


def summary_of(batch_id: str) -> Summary | None:
    """The batch's newest manifest, if there is one."""
    return current(_batch(batch_id))


def verified(batch_id: str, on_progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """The batch's manifest held against its plan and its files."""
    return verify_batch(_batch(batch_id), on_progress)


def _batch(batch_id: str) -> Batch:
    return Batch(open_store(settings().store_url), batch_id)


def _finish(watched: list[Watched], as_json: bool) -> None:
    try:
        states = follow(watched)
    except KeyboardInterrupt:
        console.print(f"\nThe batch goes on; see: darkroom watch {watched[0].batch_id}")
        raise
    failed = [batch for batch in watched if states[batch.batch_id] != "success"]
    why = {batch.batch_id: api().failure(DAG_ID, batch.run_id) for batch in failed}
    for batch_id, state in states.items():
        summary = summary_of(batch_id)
        if as_json:
            print(
                json.dumps(
                    {
                        "batch_id": batch_id,
                        "state": state,
                        "error": why.get(batch_id),
                        "summary": summary and summary.model_dump(),
                    }
                )
            )
        else:
            print(f"{batch_id}: {state}. {summary or 'no manifest'}")
            for place in _places(batch_id, summary):
                print(f"  {place}")
    if failed:
        told = "; ".join(f"{batch_id} failed at {reason}" for batch_id, reason in why.items())
        raise WorkFailed(f"{told}. The runs: {stack.api_url()}/dags/{DAG_ID}/runs")


def _places(batch_id: str, summary: Summary | None) -> list[str]:
    """Where to look: the contact sheet, the manifest, and what was not an item."""
    if summary is None:
        return []
    batch = _batch(batch_id)
    return summary.places() + ([batch.store.uri(batch.rejects_path)] if summary.rejects else [])


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"--options is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest('--options must be a JSON object such as \'{"generate": {"steps": 8}}\'')
    return value
