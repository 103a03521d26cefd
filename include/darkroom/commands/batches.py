"""`darkroom submit | watch | verify`: start batches, look at them, check them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from darkroom.commands.connection import DAG_ID, api, batch_named, existing
from darkroom.commands.options_json import json_object
from darkroom.commands.plants import plant
from darkroom.commands.switches import Json, Wait
from darkroom.commands.watching import Watched, watch
from darkroom.errors import BadRequest, DarkroomError
from darkroom.flows import DEFAULT_FLOW, FLOWS
from darkroom.plans.intake import run_terms
from darkroom.records import batch_id_for
from darkroom.rest.api import RunExists
from darkroom.results.manifest import Summary, VerifyReport
from darkroom.results.manifest import verify as verify_batch
from darkroom.results.onward import Onward
from darkroom.views.sight import Sight
from darkroom.views.work_table import work_table

console = Console(stderr=True)


class WorkFailed(DarkroomError):
    """The batch did not come out as it should."""

    code = "work_failed"


def submit(
    source: Annotated[
        str, typer.Argument(help="JSONL, CSV or Parquet: a file, a glob, an object; or a folder of pictures.")
    ],
    flow: Annotated[str, typer.Option(help=f"One of {', '.join(FLOWS)}.")],
    batch: Annotated[
        str | None, typer.Option(help="Name of the batch; default: made from the source.")
    ] = None,
    options: Annotated[str, typer.Option(help='Per stage, as JSON: \'{"generate": {"steps": 8}}\'.')] = "{}",
    respins: Annotated[int, typer.Option(help="How often a rejected item is tried with a new seed.")] = 1,
    max_failed_ratio: Annotated[float, typer.Option(help="Share of failed items that fails the run.")] = 0.05,
    priority: Annotated[str, typer.Option(help="bulk, normal or interactive.")] = "normal",
    force: Annotated[bool, typer.Option("--force", help="Start it although too much work waits.")] = False,
    not_before: Annotated[
        str | None, typer.Option(help="Begin at this time: 2030-01-31T06:00+01:00, or Z for UTC.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Say so when it has not ended by this time, written the same way.")
    ] = None,
    cancel_at_deadline: Annotated[
        bool, typer.Option("--cancel-at-deadline", help="And cancel it then; what was computed is kept.")
    ] = False,
    callback_url: Annotated[
        str | None, typer.Option(help="Gets a signed POST at its end; only where the plant allows its host.")
    ] = None,
    then: Annotated[
        str | None, typer.Option(help="A route of the plant's: which items go on to another flow at the end.")
    ] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Start a batch.

    The source must lie under an allowed root: examples/, inputs/, or what DARKROOM_SOURCE_ROOTS lists. It is
    read by the plant: where DARKROOM_API_URL leads to one elsewhere, it is a path there, or an object in a
    store; nothing is uploaded. While more hours of work wait than DARKROOM_MAX_BACKLOG_HOURS, no batch is
    started: exit code 2, with the expected wait and when to come back; --force starts it anyway. With --then,
    --wait goes on until the batches have ended that its items go on to; --json then gives a line for each.

    For example:

      darkroom submit examples/prompts.jsonl --flow A_C --wait

      darkroom submit inputs/photos --flow B_C --batch holiday --options '{"enhance": {"scale": 2}}'
    """
    terms = run_terms({
        "force": force, "not_before": not_before, "deadline": deadline,
        "cancel_at_deadline": cancel_at_deadline, "callback_url": callback_url, "then": then,
    })  # fmt: skip
    given = json_object(options)
    source = plant().admit(source, flow, given, force, callback_url)
    started = start(source, flow, batch, {
        "options": given, "respins": respins,
        "max_failed_ratio": max_failed_ratio, "priority": priority,
        **terms.model_dump(mode="json", exclude_defaults=True, exclude={"not_before"}),
    }, terms.not_before)  # fmt: skip
    finish_or_tell(started, wait, as_json)


def watch_batch(
    batch: Annotated[str, typer.Argument(help="Name of the batch.")], as_json: Json = False
) -> None:
    """Show a batch until it ends: its stages, each host's part in it, and the time left with a range.

    Of each host: items done, failed, rejected and in flight, its rate over the last minute, its share of the
    batch, seconds per item, the time left of the chunks that it has, and what it does. Without a terminal, a
    line every 5 s. `darkroom show` gives the same numbers once. With --json, what the batch came to, when it
    has ended.

    Exit code 0: the run succeeded; 1: it failed or was cancelled; 3: the plant is away for long. Ctrl-C ends
    the watching, not the batch.

    For example:

      darkroom watch holiday
    """
    run = api().newest_run(DAG_ID, batch)
    _finish([Watched(batch, run.run_id, run.conf.get("flow", DEFAULT_FLOW))], as_json)


def verify(
    batch: Annotated[str, typer.Argument(help="Name of the batch.")],
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Check rows only: much faster, but reads no picture.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that every planned item has exactly one row, and every file exists and is whole.

    Exit code 0: the manifest is complete and true; 1: it is not, and what is wrong is listed.

    For example:

      darkroom verify holiday

      darkroom verify a-million --no-pictures
    """
    existing(batch)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        row = bar.add_task("rows", total=None)
        report = verified(
            batch, lambda done, total: bar.update(row, completed=done, total=total), pictures=not no_pictures
        )
    if as_json:
        print(report.model_dump_json())
    else:
        for problem in report.problems:
            console.print(problem, style="red", markup=False, soft_wrap=True)
        print(report)
    if not report.ok:
        raise WorkFailed(f"batch {batch} does not verify")


def start(
    source: str, flow: str, batch: str | None, params: dict[str, Any], not_before: datetime | None = None
) -> Watched:
    """Trigger `image_flow`; the run's id is the batch's name, so the same name starts one run."""
    batch_id = batch or batch_id_for(None, f"{Path(source).stem}-{flow}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    conf = {"flow": flow, "source": source, "batch_id": batch_id, **params}
    taken = (
        f"there is a batch {batch_id!r} already: choose another name with --batch; to look at it, "
        f"darkroom show {batch_id}; to run what failed in it again, darkroom retry {batch_id}"
    )
    there = plant()
    if there.request(batch_id) is not None:
        raise BadRequest(taken)
    try:
        return Watched(batch_id, there.api.trigger(DAG_ID, batch_id, conf, not_before), flow)
    except RunExists as error:
        raise BadRequest(taken) from error


def follow(watched: list[Watched]) -> dict[str, str]:
    """Watch until all have ended; final states by batch id."""
    return watch(watched, plant(), console)


def summary_of(batch_id: str) -> Summary | None:
    """The numbers of the batch's newest manifest, if there is one."""
    return plant().sight(batch_id).summary


def verified(
    batch_id: str, on_progress: Callable[[int, int], None] | None = None, pictures: bool = True
) -> VerifyReport:
    """The batch's manifest held against its plan and its files."""
    return verify_batch(batch_named(batch_id), on_progress, pictures=pictures)


def finish_or_tell(started: Watched, wait: bool, as_json: bool) -> None:
    """Watch what was started until it ends, or say how to."""
    if wait:
        _finish([started], as_json)
    elif as_json:
        print(json.dumps({"batch_id": started.batch_id, "run_id": started.run_id}))
    else:
        print(f"batch {started.batch_id} started; see: darkroom watch {started.batch_id}")


def _finish(watched: list[Watched], as_json: bool) -> None:
    states: dict[str, str] = {}
    seen: dict[str, Sight] = {}
    try:
        going = watched
        while going:
            states |= follow(going)
            ended = {batch.batch_id: plant().sight(batch.batch_id) for batch in going}
            seen |= ended
            going = [batch for sight in ended.values() for batch in map(_going, sight.then) if batch]
            watched = watched + going
    except KeyboardInterrupt:
        console.print(f"\nThe batch goes on; see: darkroom watch {watched[0].batch_id}")
        raise
    failed = [batch for batch in watched if states[batch.batch_id] != "success"]
    why = {batch.batch_id: _why(batch, states[batch.batch_id]) for batch in failed}
    for batch_id, state in states.items():
        summary = seen[batch_id].summary
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
            if summary is not None and console.is_terminal:
                console.print(work_table(summary))
            for place in plant().places(summary) if summary else []:
                print(f"  {place}")
            for onward in seen[batch_id].then:
                print(f"  then {onward}")
    if failed:
        told = "; ".join(f"{batch_id} {reason}" for batch_id, reason in why.items())
        raise WorkFailed(f"{told}. The runs: {api().url}/dags/{DAG_ID}/runs")


def _going(onward: Onward) -> Watched | None:
    """What has gone on, to be watched; None: Airflow does not know it any more."""
    run = api().find_run(DAG_ID, onward.batch_id)
    return Watched(onward.batch_id, run.run_id, onward.flow) if run else None


def _why(batch: Watched, state: str) -> str:
    """Why a run came to nothing."""
    if state == "cancelled":
        return f"was cancelled; darkroom retry {batch.batch_id} does the rest"
    return f"failed at {api().failure(DAG_ID, batch.run_id)}"
