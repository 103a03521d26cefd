"""Chunks and runs that have not ended, from Airflow's own tables: two queries, by their indexes."""

from datetime import UTC, datetime
from typing import Any, Final

from airflow.models import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import and_, case, extract, func, select
from sqlalchemy.orm import Session

from darkroom.flows import STAGES
from darkroom.monitor.access import DAG_ID
from darkroom.rest.api import Run
from darkroom.views.stations import Airflow, ChunksNow

RUNS: Final = 1000
"""Runs that are looked at, at most: `max_active_runs` is far below, and what is queued behind it waits."""
_POOLS: Final = {pool: stage.name for stage in STAGES.values() for pool in (stage.pool, stage.now_pool)}
_FIELDS: Final = {
    TaskInstanceState.SCHEDULED.value: "scheduled",
    TaskInstanceState.QUEUED.value: "queued",
    TaskInstanceState.RUNNING.value: "running",
    TaskInstanceState.UP_FOR_RETRY.value: "put_back",
    TaskInstanceState.UP_FOR_RESCHEDULE.value: "put_back",
    TaskInstanceState.DEFERRED.value: "paused",
}


def look(session: Session) -> Airflow:
    """What only Airflow knows."""
    return Airflow(_runs(session), _chunks(session, datetime.now(UTC)))


def _runs(session: Session) -> dict[str, Run]:
    """By batch, the newest run of each."""
    rows = session.execute(
        select(DagRun.run_id, DagRun.state, DagRun.conf)
        .where(DagRun.dag_id == DAG_ID, DagRun.state.in_([DagRunState.QUEUED, DagRunState.RUNNING]))
        .order_by(DagRun.run_after)
        .limit(RUNS)
    )
    runs = (Run(run_id, str(state), conf or {}) for run_id, state, conf in rows)
    return {run.batch_id: run for run in runs}


def _chunks(session: Session, now: datetime) -> dict[str, ChunksNow]:
    """By stage. A task instance is a chunk of a stage if it is in a pool of the stage."""
    ready, began = TaskInstance.scheduled_dttm, TaskInstance.start_date
    # One that was paused or put back keeps the time of its first start.
    waited = case((began >= ready, extract("epoch", began) - extract("epoch", ready)))
    rows = session.execute(
        select(
            TaskInstance.pool, TaskInstance.state, func.count(),
            func.sum(waited), func.count(waited), func.min(ready),
        )
        .where(and_(TaskInstance.pool.in_(_POOLS), TaskInstance.state.in_(_FIELDS)))
        .group_by(TaskInstance.pool, TaskInstance.state)
    )  # fmt: skip
    counts: dict[str, dict[str, int]] = {}
    waits: dict[str, list[tuple[float, int]]] = {}
    oldest: dict[str, datetime] = {}
    for pool, state, number, waited_s, of, first in rows:
        stage, name = _POOLS[pool], _FIELDS[state]
        of_stage = counts.setdefault(stage, dict.fromkeys(_FIELDS.values(), 0))
        of_stage[name] += number
        if name == "running" and of:
            waits.setdefault(stage, []).append((float(waited_s), of))
        if name == "scheduled" and first is not None:
            oldest[stage] = min(first, oldest.get(stage, first))
    return {
        stage: ChunksNow(
            **told,
            waited_s=_mean(waits.get(stage, [])),
            longest_s=_since(oldest.get(stage), now),
        )
        for stage, told in counts.items()
    }


def _mean(waits: list[tuple[float, int]]) -> float | None:
    number = sum(of for _, of in waits)
    return round(sum(seconds for seconds, _ in waits) / number, 3) if number else None


def _since(when: Any, now: datetime) -> float | None:
    return round(max(0.0, (now - when).total_seconds()), 3) if when is not None else None
