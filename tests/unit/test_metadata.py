"""Airflow's own records go by `db clean`; what a run that has not ended may need stays."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from airflow import settings as airflow_settings
from airflow.models import DagRun
from airflow.models.log import Log
from airflow.utils.session import create_session
from tests.unit.airflow_app import make_tables

from darkroom.errors import PlantAway
from darkroom.orchestration.housekeeping import AskMetadata, CleanMetadata
from darkroom.orchestration.metadata import clean, live_batches
from darkroom.settings import settings

NOW = datetime.now(UTC)


@pytest.fixture(scope="module", autouse=True)
def tables():
    make_tables()


@pytest.fixture(autouse=True)
def empty(tables):
    with create_session() as session:
        session.query(DagRun).delete()
        session.query(Log).delete()


def add_run(run_id, state, days_ago, dag_id="image_flow", **conf):
    then = NOW - timedelta(days=days_ago)
    with create_session() as session:
        session.add(
            DagRun(
                dag_id=dag_id, run_id=run_id, run_type="manual", state=state, run_after=then, start_date=then,
                conf=conf,
            )
        )  # fmt: skip
        session.flush()
        session.query(DagRun).filter_by(run_id=run_id).update({"created_at": then})
        session.add(Log(event=run_id))
        session.flush()
        session.query(Log).filter_by(event=run_id).update({"dttm": then})


def runs():
    with create_session() as session:
        return sorted(run_id for (run_id,) in session.query(DagRun.run_id))


def events():
    with create_session() as session:
        return sorted(event for (event,) in session.query(Log.event))


def test_rows_older_than_the_limit_go_and_younger_ones_stay():
    add_run("old", "success", 40)
    add_run("failed", "failed", 31)
    add_run("young", "success", 29)
    tally = clean(30, dry_run=False)
    assert runs() == events() == ["young"]
    assert {"dag_run: 2", "log: 2"} <= set(tally.notes)
    assert (tally.count, tally.oldest) == (4, f"{NOW - timedelta(days=40):%Y-%m-%d}")


def test_only_to_look_counts_the_same_and_removes_nothing():
    add_run("old", "success", 40)
    seen = clean(30, dry_run=True)
    assert runs() == ["old"]
    assert seen.count == clean(30, dry_run=False).count == 2


def test_nothing_since_the_oldest_run_that_has_not_ended_goes():
    add_run("before", "success", 60)
    add_run("still", "running", 50, batch_id="b1")
    add_run("child", "success", 45, dag_id="shard_flow", batch_id="b1")
    tally = clean(30, dry_run=False)
    assert runs() == ["child", "still"]
    assert "run still of image_flow has not ended" in tally.notes[0]


def test_a_run_that_has_not_begun_holds_back_too():
    add_run("waits", "queued", 50)
    add_run("later", "success", 45)
    clean(30, dry_run=False)
    assert runs() == ["later", "waits"]


def test_no_archive_is_left_behind():
    add_run("old", "success", 40)
    clean(30, dry_run=False)
    from sqlalchemy import inspect

    assert not [name for name in inspect(airflow_settings.engine).get_table_names() if "_deleted" in name]


def test_the_batches_that_live_are_those_with_a_run_that_has_not_ended():
    add_run("r1", "running", 1, batch_id="b1")
    add_run("b1__shard000", "queued", 1, dag_id="shard_flow", batch_id="b1")
    add_run("manual__2026", "running", 1)
    add_run("r2", "success", 1, batch_id="b2")
    add_run("r3", "running", 1, dag_id="housekeeping")
    assert live_batches() == ["b1", "manual__2026"]


def test_the_trigger_asks_in_a_process_that_has_the_database(monkeypatch):
    add_run("r1", "running", 1, batch_id="b1")
    url = str(airflow_settings.engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("DARKROOM_METADATA_URL", url)
    # As Airflow leaves the process that runs triggers:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow-db-not-allowed:///")
    monkeypatch.setenv("AIRFLOW__CORE__SQL_ALCHEMY_CONN", "airflow-db-not-allowed:///")
    settings.cache_clear()
    try:
        assert fired(["live"]) == {"answer": ["b1"]}
        told = fired(["clean", "--days", "30", "--dry-run"])["answer"]
        assert (told["things"], told["dry_run"]) == ("rows", True)
    finally:
        settings.cache_clear()


def test_what_goes_wrong_there_is_said_and_may_be_tried_again(monkeypatch):
    monkeypatch.setenv("DARKROOM_METADATA_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/none")
    settings.cache_clear()
    try:
        event = fired(["live"])
    finally:
        settings.cache_clear()
    with pytest.raises(PlantAway, match="refused") as found:
        CleanMetadata(task_id="clean_metadata").asked({}, event)
    assert found.value.retryable


def fired(arguments):
    trigger = AskMetadata(arguments)
    path, fields = trigger.serialize()
    assert path.endswith(".AskMetadata") and fields == {"arguments": arguments}

    async def first():
        return json.loads(json.dumps((await anext(trigger.run())).payload))

    return asyncio.run(first())
