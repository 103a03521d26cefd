"""The tasks of the DAGs: each one a decorator and a call into the package."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from darkroom.flows import FLOWS, STAGES
from darkroom.records import batch_id_for

if TYPE_CHECKING:
    from darkroom.batches import Batch

STOPPED_RETRY_S = 15
"""How soon a chunk that was asked to stop is offered again."""


def _batch() -> "Batch":
    from darkroom.batches import Batch
    from darkroom.settings import settings
    from darkroom.storage import open_store

    context = get_current_context()
    batch_id = batch_id_for(context["params"].get("batch_id"), str(context["run_id"]))
    return Batch(open_store(settings().store_url), batch_id)


def _round() -> int:
    """0 in `image_flow`; in `shard_flow` the round that it was started for."""
    return int(get_current_context()["params"].get("round", 0))


@task
def plan() -> list[str]:
    """Read the source, fix the plan, return its chunk ids."""
    from darkroom.intake import plan_batch
    from darkroom.settings import settings

    params = dict(get_current_context()["params"])
    return plan_batch(_batch(), params, settings()).chunk_ids


@task
def take_round() -> list[str]:
    """The chunk ids of a round that another run has planned."""
    return _batch().planned(_round()).chunk_ids


@task.branch
def choose_flow() -> str:
    """Lead the chunks to their flow, and an empty batch straight to `collect`."""
    batch = _batch()
    if not batch.planned(_round()).chunk_ids:
        return "collect"
    flow = FLOWS[batch.request().flow]
    return f"{flow.group_id}.{flow.stages[0]}"


@task
def run_stage(stage_name: str, chunk_id: str) -> str:
    """Take one chunk through one stage on this worker's model server."""
    from darkroom.chunk import ChunkStopped, run_chunk
    from darkroom.orchestration.lane import open_lane, why_not_ready
    from darkroom.planning import time_budget_s

    batch, stage = _batch(), STAGES[stage_name]
    items = batch.plan_chunk(chunk_id)
    names = [item.custom_id for item in (items[0], items[-1])]
    get_current_context()["chunk_name"] = " … ".join(dict.fromkeys(names))
    with open_lane(stage) as lane:
        try:
            if reason := why_not_ready():
                raise ChunkStopped(reason)
            budget_s = time_budget_s(
                len(items), stage.seconds_per_item, stage.lanes_per_server, stage.chunk_timeout_s
            )
            report = run_chunk(batch, stage, chunk_id, lane, budget_s)
        except ChunkStopped as stopped:  # spends no try; goes on from the images that exist
            again = datetime.now(UTC) + timedelta(seconds=STOPPED_RETRY_S)
            raise AirflowRescheduleException(again) from stopped
    return f"{batch.batch_id} chunk {chunk_id}, {stage.name} on {lane.host}: {report}"


@task.branch(trigger_rule="all_done")
def collect() -> str | None:
    """Write the manifest's next generation, whatever the chunks came to; then say what is next."""
    from darkroom.manifest import collect as write_manifest
    from darkroom.manifest import leftovers as left

    first_task = "take_round" if _round() else "plan"
    if get_current_context()["ti"].xcom_pull(task_ids=first_task) is None:
        # An earlier run's manifest of the same batch must not make this one look done.
        raise AirflowFailException(f"this run has no plan; see the log of `{first_task}`")
    batch = _batch()
    write_manifest(batch)
    if left(batch):
        return "respin.leftovers"
    return "deliver" if _round() == 0 else None


@task
def leftovers() -> dict[str, Any]:
    """Cut what C rejected (new seeds) and what is undone into the next round's chunks."""
    from darkroom.intake import plan_round

    batch = _batch()
    index = plan_round(batch, _round() + 1)
    run_id = f"{batch.batch_id}__round{index.round}"
    priority = get_current_context()["params"]["priority"]
    conf = {"batch_id": batch.batch_id, "round": index.round, "priority": priority}
    return {"run_id": run_id, "conf": conf}


@task(trigger_rule="none_failed_min_one_success")
def deliver() -> list[str]:
    """Draw the contact sheet of the manifest and say where everything is."""
    from darkroom.contact_sheet import render
    from darkroom.manifest import collect as write_manifest

    batch = _batch()
    summary = write_manifest(batch)  # once more: the round before may have ended without its `collect`
    render(batch, summary)
    return summary.places()


@task
def verdict() -> str:
    """Fail the run when too many items failed; everything is written and delivered by now."""
    from darkroom.manifest import collect as write_manifest

    batch = _batch()
    summary, allowed = write_manifest(batch), batch.request().max_failed_ratio
    said = f"batch {batch.batch_id}: {summary}"
    if summary.failed_ratio > allowed:
        raise AirflowFailException(f"{said}. That is more than max_failed_ratio {allowed:.1%} allows.")
    if summary.rejects and not summary.items:
        raise AirflowFailException(f"{said}. No line of the source is an item; see {batch.rejects_path}.")
    return said
