"""The light tasks of the DAGs: each one a call into the package."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from inspect import getdoc
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from darkroom.flows import FLOWS, STAGES
from darkroom.orchestration.links import LINKS
from darkroom.orchestration.tracing import to_child
from darkroom.records import batch_id_for

if TYPE_CHECKING:
    from darkroom.plans.planning import Params
    from darkroom.records import PlannedItem
    from darkroom.store.batches import Batch, Index

log = logging.getLogger(__name__)
STORE_RETRY_S = 30
"""How soon a task looks again whether the store answers."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
CHUNKS_AHEAD = 2
"""For each lane of the last stage may wait for it when the next shard begins, so that none stands idle."""
ROUNDS_FOR_UNDONE = 5
"""What is undone is cut again so often in a run and its children, so that a hopeless item ends."""


@contextmanager
def store_patience() -> Iterator[None]:
    """Put the task back, without spending a try, when the store refuses: a full disk is no failure.

    Nor is one that is full where this machine keeps its temporary files.
    """
    from darkroom.errors import StoreUnavailable

    try:
        yield
    except (StoreUnavailable, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _FULL:
            raise
        log.warning("looking again in %d s, for there is no room or no store: %s", STORE_RETRY_S, error)
        raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=STORE_RETRY_S)) from error


def batch_of(context: Any) -> "Batch":
    """The batch that a run works on."""
    from darkroom.settings import settings
    from darkroom.store.batches import Batch
    from darkroom.store.storage import open_store

    batch_id = batch_id_for(context["params"].get("batch_id"), str(context["run_id"]))
    return Batch(open_store(settings().store_url), batch_id)


def wait_while_it_goes(batch: "Batch") -> None:
    """Put the task back while housekeeping removes what there was under the batch's name; then it is new."""
    if batch.is_going():
        raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=STORE_RETRY_S))


def _batch() -> "Batch":
    return batch_of(get_current_context())


def _param(name: str, default: Any = None) -> Any:
    return get_current_context()["params"].get(name, default)


def _planned(batch: "Batch") -> "Index":
    """The round that this run is for: the first in `image_flow`."""
    return batch.planned(int(_param("round", 0)))


def admit() -> None:
    """Refuse what a run of `image_flow` may not ask for now, or put it off.

    Raises:
        BadRequest: a param is wrong; PlantFull: too much waits.
    """
    from darkroom.fleet.servers import Fleet
    from darkroom.live.backlog import backlog, refuse_when_full
    from darkroom.live.control import Control
    from darkroom.live.progress import Progress
    from darkroom.live.rates import Rates
    from darkroom.orchestration.telling import refuse_untold
    from darkroom.plans.intake import check_request, run_terms
    from darkroom.results.routing import ask_of
    from darkroom.settings import settings

    batch, here, params = _batch(), settings(), dict(get_current_context()["params"])
    url, terms = here.redis_url.get_secret_value(), run_terms(params)
    if terms.callback_url:
        refuse_untold(terms.callback_url)
    if terms.then:
        ask_of(terms.then)
    if terms.not_before and terms.not_before > datetime.now(UTC):
        with store_patience():
            check_request(batch, params)  # not hours later
        raise AirflowRescheduleException(terms.not_before)
    if _param("retry") and (control := Control(url)).state(batch.batch_id) == "cancelled":
        control.clear(batch.batch_id)  # else its chunks would stop at once
    with store_patience():
        wait_while_it_goes(batch)
        if batch.index() is None and not _param("force"):
            refuse_when_full(backlog(Progress(url), Rates(url), Fleet(url)), here.max_backlog_hours)


def plan() -> list[str]:
    """Read the source, fix the plan; the chunks that this run takes itself: none of a batch of shards."""
    from darkroom.live.backlog import speeds
    from darkroom.plans.intake import plan_batch
    from darkroom.plans.runs import chunks_here
    from darkroom.settings import settings

    batch, here = _batch(), settings()
    with store_patience():
        now = speeds(here.redis_url.get_secret_value())
        index = plan_batch(batch, dict(get_current_context()["params"]), here, **now)
        return chunks_here(batch, index)


def take_chunks() -> list[str]:
    """The chunks of a round, or of a shard of it, that another run has planned."""
    from darkroom.plans.runs import chunks_here

    batch = _batch()
    with store_patience():
        wait_while_it_goes(batch)
        return chunks_here(batch, _planned(batch), _param("shard"))


def choose_branch(chunk_ids: list[str]) -> str:
    """The task that a run goes on with that takes these chunks itself."""
    from darkroom.plans.runs import shards_left

    batch = _batch()
    with store_patience():
        index = _planned(batch)
        if chunk_ids:
            flow = FLOWS[index.flow]
            return f"{flow.group_id}.{flow.stages[0]}"
        return "run_shards" if _param("shard") is None and shards_left(batch, index) else "collect"


def next_shard(after: int) -> dict[str, Any] | None:
    """The first run behind shard `after` that a large round still needs.

    As `TriggerDagRunOperator` takes it, with its number of chunks and what `HandedOut` waits for before the
    next one begins.
    """
    from darkroom.fleet.servers import Fleet
    from darkroom.live.backlog import ready_servers
    from darkroom.plans.runs import child_run_id, chunks_here, shards_left
    from darkroom.settings import settings

    batch, run_id = _batch(), str(get_current_context()["run_id"])
    with store_patience():
        index = _planned(batch)
        if _param("shard") is not None or chunks_here(batch, index):
            return None  # it takes its chunks itself, and was cleared without the task that leads past this
        left = shards_left(batch, index, after)
    if not left:
        return None
    number, chunks = next(iter(left.items()))
    flow = FLOWS[index.flow]
    servers = ready_servers(Fleet(settings().redis_url.get_secret_value()))
    *before, last = (STAGES[name].lanes_per_server * servers.get(name, 1) for name in flow.stages)
    child = child_run_id(batch.batch_id, run_id, f"shard{number:03d}")
    return _child(child, round=index.round, shard=number) | {
        "chunks": chunks,
        "turn": {
            "first": f"{flow.group_id}.{flow.stages[0]}",
            "last": f"{flow.group_id}.{flow.stages[-1]}",
            "room": sum(before) + CHUNKS_AHEAD * last,  # beside those that are in hand
        },
    }


class Collect(BaseBranchOperator):
    """Write the manifest's next generation, whatever the chunks came to; then say what is next.

    Where nothing goes round again, the contact sheet is drawn, too: then all is delivered.
    """

    operator_extra_links = LINKS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trigger_rule="all_done", doc_md=getdoc(self), **kwargs)

    def choose_branch(self, context: Any) -> str | None:
        """The task that the run goes on with."""
        from darkroom.results.contact_sheet import render
        from darkroom.results.manifest import collect

        first_task = "plan" if _param("round") is None else "take_chunks"
        if context["ti"].xcom_pull(task_ids=first_task) is None:
            # An earlier run's manifest of the same batch must not make this one look done.
            raise AirflowFailException(f"this run has no plan; see the log of `{first_task}`")
        if _param("shard") is not None:  # who started the shards collects
            return None
        batch = _batch()
        with store_patience():
            summary = collect(batch)
            if next(_left(batch), None) is not None:
                return "respin.leftovers"
            if _param("round") is not None:  # who started the round delivers
                return None
            render(batch, summary)
        return "verdict"


@task
def leftovers() -> list[dict[str, Any]]:
    """Cut what C rejected (new seeds), what is undone and, asked to, what failed into the next round."""
    from darkroom.live.progress import PlanNow, Progress
    from darkroom.plans.rounds import plan_round
    from darkroom.plans.runs import child_run_id
    from darkroom.settings import settings

    batch, run_id = _batch(), str(get_current_context()["run_id"])
    with store_patience():
        index = plan_round(batch, lambda: _left(batch), run_id, _as_measured)
    plan_now = PlanNow(index.flow, index.items, chunks=len(index.chunk_ids), round=index.round)
    Progress(settings().redis_url.get_secret_value()).plan(batch.batch_id, plan_now)
    child = child_run_id(batch.batch_id, run_id, f"round{index.round}")
    return [_child(child, round=index.round, depth=_depth() + 1)]


def _as_measured(first: "Params") -> "Params":
    """How to cut what is left: by what the batch's own chunks have shown, and the servers that are there."""
    from darkroom.live.backlog import speeds
    from darkroom.plans.planning import decide_params
    from darkroom.settings import settings

    here = settings()
    now = speeds(here.redis_url.get_secret_value())
    return decide_params(
        first.fingerprint, first.flow, min_chunk_s=here.min_chunk_s, max_chunk_s=here.max_chunk_s,
        shard_chunks=first.shard_chunks, servers=now["servers"], seconds_per_item=now["rates"],
    )  # fmt: skip


def _left(batch: "Batch") -> "Iterator[PlannedItem]":
    from darkroom.results.outcomes import leftovers

    return leftovers(batch, undone=_depth() < ROUNDS_FOR_UNDONE, failed=bool(_param("retry")))


def _depth() -> int:
    return int(_param("depth", 0))


def _child(run_id: str, **conf: Any) -> dict[str, Any]:
    """A run of `shard_flow`, as `TriggerDagRunOperator` takes it."""
    same = {"batch_id": _batch().batch_id, "depth": _depth(), "priority": _param("priority"), **to_child()}
    return {"trigger_run_id": run_id, "conf": same | conf}


class Verdict(BaseBranchOperator):
    """Fail the run when too many items failed, all being written and delivered; else, asked to, go on."""

    operator_extra_links = LINKS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trigger_rule="none_failed_min_one_success", doc_md=getdoc(self), **kwargs)

    def choose_branch(self, context: Any) -> str | None:
        """The task that the run goes on with, if any."""
        from darkroom.live.progress import Progress
        from darkroom.results.contact_sheet import render
        from darkroom.results.manifest import collect
        from darkroom.settings import settings

        batch = _batch()
        with store_patience():
            summary = collect(batch)  # once more: a round may have ended without its `collect`
            render(batch, summary)
            allowed = batch.request().max_failed_ratio
        state = "failed" if summary.failed_ratio > allowed else "success"
        Progress(settings().redis_url.get_secret_value()).end(batch.batch_id, state)
        said = f"batch {batch.batch_id}: {summary}"
        if summary.failed_ratio > allowed:
            raise AirflowFailException(f"{said}. That is more than max_failed_ratio {allowed:.1%} allows.")
        if summary.rejects and not summary.items:
            raise AirflowFailException(f"{said}. No line of the source is an item; see {batch.rejects_path}.")
        log.info(said)
        return "then.route" if _param("then") else None
