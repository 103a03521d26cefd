"""`darkroom pause | resume | cancel | retry`: steer a batch that is under way, or take it up again."""

import json
from itertools import count
from typing import Annotated, Any

import typer

from darkroom.commands.batches import finish_or_tell
from darkroom.commands.connection import CHILD_DAG_ID, DAG_ID
from darkroom.commands.plants import plant
from darkroom.commands.switches import Json, Wait
from darkroom.commands.watching import Watched
from darkroom.errors import BadRequest
from darkroom.flows import DEFAULT_FLOW
from darkroom.records import RunTerms
from darkroom.rest.api import FINAL_STATES, AirflowApi, RunExists

Name = Annotated[str, typer.Argument(help="Name of the batch.", metavar="BATCH")]


def pause(batch: Name, as_json: Json = False) -> None:
    """Stop a batch for a while: its running chunks stop at the next item boundary, and no new ones begin.

    What was computed is kept, its servers are free for other batches. It waits until it is resumed; a restart
    of the plant does not resume it. Exit code 2: there is no such batch, or it has ended.

    For example:

      darkroom pause holiday; darkroom watch holiday
    """
    plant().wish(batch, "paused")
    _tell(
        as_json, {"batch_id": batch, "state": "paused"}, f"batch {batch} is paused; darkroom resume {batch}"
    )


def resume(batch: Name, as_json: Json = False) -> None:
    """Let a paused batch go on from where it stopped.

    Exit code 2: there is no such batch, it has ended, or it is cancelled.

    For example:

      darkroom resume holiday
    """
    there = plant()
    state = there.api.newest_run(DAG_ID, batch).state
    if state in FINAL_STATES and not _active(there.api, CHILD_DAG_ID, batch):
        raise BadRequest(f"batch {batch} has ended ({state}); see: darkroom show {batch}")
    there.wish(batch, "running")
    _tell(as_json, {"batch_id": batch, "state": "running"}, f"batch {batch} goes on; darkroom watch {batch}")


def cancel(batch: Name, as_json: Json = False) -> None:
    """End a batch for good: its run and all the runs that this has started.

    Running chunks stop at the next item boundary. What was computed is kept, so `darkroom retry` does only
    the rest. Safe to repeat. Exit code 2: there is no such batch, or it has ended otherwise.

    For example:

      darkroom cancel holiday
    """
    there = plant()
    there.wish(batch, "cancelled")  # before its runs end, so that a chunk that goes on a little knows
    ended = there.api.end_runs(batch)
    runs = f"ended {', '.join(ended)}" if ended else "nothing of it was running"
    _tell(as_json, {"batch_id": batch, "state": "cancelled", "ended": ended}, f"batch {batch}: {runs}")


def retry(batch: Name, wait: Wait = False, as_json: Json = False) -> None:
    """Run what failed in a batch once more, and what a cancelled one left undone; completed items stay.

    A new run under the same batch: what is computed is found and not computed again, and the manifest gets
    its next generation. Exit code 2: there is no such batch, or a run of it is still under way.

    For example:

      darkroom retry holiday --wait
    """
    there = plant()
    session, request = there.api, there.request(batch)
    if request is None:  # it ended before it was planned
        run = session.newest_run(DAG_ID, batch)
        asked = {name: value for name, value in run.conf.items() if name not in RunTerms.model_fields}
        request = asked | {"batch_id": batch}
    newest = session.find_run(DAG_ID, batch)  # one made by the form has its name in no conf
    active = [newest.run_id] if newest and newest.state not in FINAL_STATES else []
    if active := active + _active(session, DAG_ID, batch) + _active(session, CHILD_DAG_ID, batch):
        raise BadRequest(f"batch {batch}: {active[0]} is still under way; darkroom cancel {batch} ends it")
    there.wish(batch, "running")
    conf = request | {"retry": True}
    if newest:  # who was to be told still is, and what goes on still does
        conf |= {name: asked for name, asked in newest.conf.items() if name in ("callback_url", "then")}
    run_id = _trigger(session, batch, conf)
    finish_or_tell(Watched(batch, run_id, request.get("flow", DEFAULT_FLOW)), wait, as_json)


def _trigger(session: AirflowApi, batch: str, conf: dict[str, Any]) -> str:
    """Start the batch's next retry, under the first number that is free."""
    known = {run.run_id for run in session.runs_of_batch(DAG_ID, batch)}
    for number in count(1):
        run_id = f"{batch}__retry{number}"
        if run_id not in known:
            try:
                return session.trigger(DAG_ID, run_id, conf)
            except RunExists:  # somebody else was faster
                continue
    raise AssertionError("unreachable")


def _active(session: AirflowApi, dag_id: str, batch: str) -> list[str]:
    """Run ids, the newest first."""
    return [run.run_id for run in session.active_runs(dag_id, batch)]


def _tell(as_json: bool, value: dict[str, Any], text: str) -> None:
    print(json.dumps(value) if as_json else text)
