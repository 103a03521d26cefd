"""`/darkroom/metrics`, on a real server with a real Valkey: who may read it, and what it says."""

import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from airflow.jobs.job import Job
from airflow.models import DagRun
from airflow.models.callback import Callback
from airflow.models.deadline import Deadline
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.utils.session import create_session
from prometheus_client.parser import text_string_to_metric_families as text_format
from tests.unit.airflow_app import forget, token
from tests.unit.airflow_rows import add_run

from darkroom.fleet.plant import mark
from darkroom.live.progress import PlanNow, Progress
from darkroom.live.totals import Totals
from darkroom.monitor import metrics
from darkroom.settings import settings
from darkroom.store.storage import Store, open_store

SECRET = "s" * 32


@pytest.fixture
def plant(address, url, tmp_path, monkeypatch):
    """Its address for scraping, and the URL of its Valkey."""
    monkeypatch.setenv("DARKROOM_STORE", (tmp_path / "store").as_uri())
    monkeypatch.setenv("DARKROOM_REDIS_URL", url)
    monkeypatch.setenv("DARKROOM_METRICS_TOKEN", SECRET)
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", url)
    forget()
    mark(open_store(settings().store_url))
    yield f"{address}/darkroom/metrics", url
    forget()
    with create_session() as session:
        for table in (Deadline, Callback, DagRun, Job):
            session.query(table).delete()


async def told_late():
    """What Airflow would call."""


def scrape(address, bearer=SECRET):
    answer = httpx.get(address, headers={"Authorization": f"Bearer {bearer}"})
    assert answer.status_code == 200, answer.text
    families = text_format(answer.text)
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_the_token_for_scraping_reads_the_metrics_and_nothing_else(plant, address):
    assert scrape(plant[0])["darkroom_redis_up",] == 1
    for path in ("/darkroom/api/plant", "/darkroom/batches/b1", "/darkroom/api/daily"):
        answer = httpx.get(f"{address}{path}", headers={"Authorization": f"Bearer {SECRET}"})
        assert answer.status_code == 403


def test_who_may_see_the_runs_may_scrape_with_his_own_token(plant):
    assert scrape(plant[0], token("viewer"))["darkroom_store_up",] == 1


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 401), ("Bearer nonsense", 403), ("Bearer", 401), (f"Basic {SECRET}", 401), ("right", 403)],
)
def test_nobody_else_is_told_anything(plant, header, status):
    header = f"Bearer {token(None)}" if header == "right" else header
    answer = httpx.get(plant[0], headers={"Authorization": header} if header else {})
    assert answer.status_code == status
    assert "darkroom_" not in answer.text


def test_without_a_token_in_the_settings_an_empty_one_opens_nothing(plant, monkeypatch):
    monkeypatch.setenv("DARKROOM_METRICS_TOKEN", "")
    settings.cache_clear()
    for header in ("Bearer", f"Bearer {SECRET}"):
        assert httpx.get(plant[0], headers={"Authorization": header}).status_code in (401, 403)


def test_what_chunks_have_counted_is_told_the_same_by_every_server_and_after_a_restart(plant):
    Totals(plant[1]).interrupted("generate", "stopped")
    of = ("darkroom_chunks_ended_total", ("how", "stopped"), ("stage", "generate"))
    assert scrape(plant[0])[of] == 1
    forget()  # as a new process
    assert scrape(plant[0])[of] == 1


def test_a_batch_whose_deadline_has_passed_is_late_until_its_run_ends(plant):
    now = datetime.now(UTC)
    with create_session() as session:
        run = DagRun(dag_id="image_flow", run_id="r1", run_type="manual", state="running", run_after=now,
                     conf={"batch_id": "b1"})  # fmt: skip
        session.add(run)
        session.flush()
        for hours in (-2, -1, 1):
            session.add(Deadline(now + timedelta(hours=hours), AsyncCallback(told_late), run.id, None))
    assert scrape(plant[0])["darkroom_batches_late",] == 1
    with create_session() as session:
        session.query(DagRun).update({"state": "success"})
    assert scrape(plant[0])["darkroom_batches_late",] == 0


def test_the_last_beat_of_a_scheduler_is_told_though_it_has_ended(plant):
    at = datetime(2026, 1, 2, tzinfo=UTC)
    with create_session() as session:
        for state, when in (("success", at), ("failed", at - timedelta(days=1))):
            session.add(Job(job_type="SchedulerJob", state=state, latest_heartbeat=when))
    told = scrape(plant[0])
    assert told["darkroom_airflow_heartbeat_timestamp_seconds", ("process", "scheduler")] == at.timestamp()


def test_with_redis_down_the_rest_is_told(plant, monkeypatch):
    monkeypatch.setenv("DARKROOM_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", "redis://127.0.0.1:1/0")
    forget()
    told = scrape(plant[0])
    assert (told["darkroom_redis_up",], told["darkroom_broker_up",], told["darkroom_store_up",]) == (0, 0, 1)


def test_a_store_that_is_not_there_is_down_and_one_that_hangs_holds_up_nobody_for_long(
    plant, monkeypatch, tmp_path
):
    assert scrape(plant[0])["darkroom_store_free_bytes",] > 0
    go_on, asked = threading.Event(), []

    def hangs(self, path):
        asked.append(path)
        return go_on.wait(60)

    monkeypatch.setattr(metrics, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(Store, "exists", hangs)
    for _ in range(3):
        assert scrape(plant[0])["darkroom_store_up",] == 0
    assert len(asked) == 1
    go_on.set()
    monkeypatch.undo()


def test_batches_that_run_are_counted(plant):
    Progress(plant[1]).plan("b1", PlanNow("A", 3, chunks=1))
    add_run("b1")
    assert scrape(plant[0])["darkroom_batches", ("state", "running")] == 1
