"""Runs and chunks, as they stand in Airflow's tables."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from airflow.models import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session

BEGUN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def add_run(batch_id, state="running", dag_id="image_flow", conf=None):
    with create_session() as session:
        session.add(
            DagRun(
                dag_id=dag_id, run_id=f"run-{batch_id}", run_type="manual", state=state, run_after=BEGUN,
                conf=conf or {"batch_id": batch_id, "flow": "A_C"},
            )
        )  # fmt: skip


def add_chunks(pool, state, number=1, waited_s=None, ready_s=0):
    """Task instances; `ready_s` after `BEGUN` they were ready, and `waited_s` later they began."""
    ready = BEGUN + timedelta(seconds=ready_s)
    rows = [
        {
            "id": uuid4(), "task_id": "a_c.x", "dag_id": "image_flow", "run_id": "run-b0", "pool": pool,
            "map_index": int(uuid4().int % 10**9), "state": state, "scheduled_dttm": ready,
            "start_date": None if waited_s is None else ready + timedelta(seconds=waited_s),
        }
        for _ in range(number)
    ]  # fmt: skip
    with create_session() as session:
        session.execute(TaskInstance.__table__.insert(), rows)
