"""What is told, by which run, and what a missed deadline does; over a real Valkey, without Airflow."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plant import plan, row, run

from darkroom.delivery.event import KINDS, event_of
from darkroom.live.control import Control
from darkroom.live.progress import PlanNow, Progress
from darkroom.orchestration import deadlines, listener
from darkroom.orchestration.deadlines import deadline_of, missed
from darkroom.orchestration.telling import CALLBACK_FLOW, start_of
from darkroom.rest import api
from darkroom.rest.api import DAG_ID, AirflowApi, Run, RunExists
from darkroom.results.manifest import collect
from darkroom.settings import settings
from darkroom.store.storage import open_store

URL = "https://hooks.example.com/x"
AT = "2030-01-01T00:00:00+00:00"


@pytest.fixture
def plant(url, monkeypatch):
    monkeypatch.setenv("DARKROOM_REDIS_URL", url)
    monkeypatch.setenv("DARKROOM_CALLBACK_HOSTS", '["hooks.example.com"]')
    settings.cache_clear()
    yield
    settings.cache_clear()


# What is said.


def test_an_event_says_what_came_of_the_batch_and_where_it_is(tmp_path):
    batch = plan(open_store(tmp_path.as_uri()), [["a", "b"]], rejects=1)
    run(batch, {"00000": [row(batch, "a"), row(batch, "b", "timed_out")]})
    summary = collect(batch)
    event = event_of("batch.completed", AT, "b1", "manual__2030+00:00", summary, "http://here")
    counts = {"items": 2, "completed": 1, "rejected": 0, "failed": 0, "timed_out": 1, "rejects": 1}
    assert (event["type"], event["timestamp"]) == ("batch.completed", AT)
    assert event["data"]["counts"] == counts
    assert (event["data"]["batch_id"], event["data"]["state"]) == ("b1", "succeeded")
    assert event["data"]["manifest"].endswith("/batches/b1/manifests/0001/manifest.parquet")
    assert event["data"]["links"] == {
        "run": "http://here/dags/image_flow/runs/manual__2030%2B00%3A00",
        "contact_sheet": "http://here/darkroom/batches/b1",
        "manifest": "http://here/darkroom/batches/b1/files/manifest.parquet",
    }


def test_a_batch_without_a_manifest_is_told_of_too():
    event = event_of("batch.failed", AT, "b1", "b1", None, "http://here")
    assert set(event["data"]["links"]) == {"run"}
    assert (event["data"]["state"], event["data"]["counts"]) == ("failed", None)


# Which run says it.


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.sampled_from(["b1", "b1__retry1"]), st.integers(0, 2)),
        unique=True,
        min_size=2,
        max_size=2,
    )
)
def test_each_end_of_each_run_has_its_own_run_and_the_same_end_the_same(ends):
    ids = [start_of(kind, "b1", run_id, URL, AT, again)["run_id"] for kind, run_id, again in ends]
    assert len(set(ids)) == 2
    assert ids == [
        start_of(kind, "b1", run_id, URL, "later", again)["run_id"] for kind, run_id, again in ends
    ]


def ended(conf, dag_id=DAG_ID):
    return SimpleNamespace(dag_id=dag_id, run_id="run-1", conf=conf, clear_number=0)


@pytest.fixture
def started(plant, monkeypatch):
    runs = []
    monkeypatch.setattr(listener, "_start", lambda run_id, conf, now: runs.append((run_id, conf["batch_id"])))
    return runs


def test_the_end_of_a_run_that_asked_for_it_is_told(started, url):
    listener.on_dag_run_success(ended({"callback_url": URL, "batch_id": "b1"}))
    listener.on_dag_run_failed(ended({"callback_url": URL}))
    Control(url).cancel("b1")
    listener.on_dag_run_failed(ended({"callback_url": URL, "batch_id": "b1"}))
    assert started == [
        ("run-1__batch.completed", "b1"), ("run-1__batch.failed", "run-1"), ("run-1__batch.cancelled", "b1"),
    ]  # fmt: skip


def test_a_run_that_somebody_ended_in_the_ui_is_no_longer_work_that_waits(started, url):
    progress = Progress(url)
    for batch_id in ("b1", "b2"):
        progress.plan(batch_id, PlanNow("A", 10))
    Control(url).cancel("b1")
    listener.on_dag_run_failed(ended({"batch_id": "b1"}))
    listener.on_dag_run_failed(ended({"batch_id": "b2"}))
    listener.on_dag_run_failed(ended({"batch_id": "b3"}, dag_id="shard_flow"))
    assert [progress.read(name).ended for name in ("b1", "b2", "b3")] == ["cancelled", "failed", ""]
    assert not {"b1", "b2"} & set(progress.active())


@pytest.mark.parametrize(
    "of",
    [
        ended(None),
        ended({"batch_id": "b1"}),
        ended({"callback_url": None}),
        ended({"callback_url": "https://evil.example/"}),
        ended({"callback_url": URL}, dag_id="shard_flow"),
    ],
)
def test_nobody_else_is_told(started, of):
    listener.on_dag_run_success(of)
    listener.on_dag_run_failed(of)
    assert started == []


# By when.


@pytest.mark.parametrize(
    ("conf", "when"),
    [
        ({"deadline": "2030-01-01T02:00:00+02:00"}, datetime(2030, 1, 1, tzinfo=UTC)),
        ({"deadline": "2030-01-01T00:00Z"}, datetime(2030, 1, 1, tzinfo=UTC)),
        ({"deadline": "2030-01-01T00:00"}, None),
        ({"deadline": "soon"}, None),
        ({"deadline": 5}, None),
        ({"deadline": "0001-01-01T00:00:00+02:00"}, None),
        ({"deadline": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_deadline_of_a_run_is_a_time_with_its_zone_or_there_is_none(conf, when):
    assert deadline_of(conf) == when


class Airflow(AirflowApi):
    """The API as far as a missed deadline uses it; away at first, if asked to be."""

    state = "running"
    away = 0

    def __init__(self, *_):
        type(self).me = self

    notes, started, failed = [], [], []

    def run_state(self, dag_id, run_id):
        if type(self).away:
            type(self).away -= 1
            raise api.ApiError("away")
        return "failed" if run_id in self.failed else self.state

    def note(self, dag_id, run_id, text):
        self.notes.append((run_id, text))

    def trigger(self, dag_id, run_id, conf, run_after=None):
        if run_id in self.started:
            raise RunExists(run_id)
        assert dag_id == CALLBACK_FLOW
        self.started.append(run_id)
        return run_id

    def runs_of_batch(self, dag_id, batch_id, *states):
        state = self.run_state(dag_id, "b1")
        return [Run("b1", state, {})] if dag_id == DAG_ID and (not states or state in states) else []

    def find_run(self, dag_id, batch_id):
        return next(iter(self.runs_of_batch(dag_id, batch_id)), None)

    def fail(self, dag_id, run_id):
        self.failed.append(run_id)


@pytest.fixture
def airflow(plant, monkeypatch):
    class Fresh(Airflow):
        notes, started, failed = [], [], []

    monkeypatch.setattr(api, "AirflowApi", Fresh)
    monkeypatch.setattr(deadlines, "_AGAIN_S", 0.01)
    return Fresh


def at_its_deadline(**conf):
    told = {"batch_id": "b1", "deadline": "2030-01-01T00:00Z", **conf}
    return asyncio.run(missed({"dag_run": {"dag_run_id": "b1", "conf": told}, "deadline": {}}))


def test_a_run_that_is_late_says_so_on_itself_and_to_who_asked_and_goes_on(airflow, url, caplog):
    at_its_deadline(callback_url=URL)
    assert airflow.notes == [("b1", "late: the deadline 2030-01-01T00:00Z has passed")]
    assert airflow.started == ["b1__batch.late"]
    assert airflow.failed == []
    assert Control(url).state("b1") == ""
    assert any(record.levelname == "ERROR" and "b1 is late" in record.message for record in caplog.records)


def test_asked_to_it_is_cancelled_as_the_command_does(airflow, url):
    at_its_deadline(cancel_at_deadline=True)
    assert airflow.failed == ["b1"]
    assert Control(url).state("b1") == "cancelled"
    assert airflow.notes[-1][1].endswith("and it was cancelled")


def test_a_run_that_has_ended_is_not_late(airflow):
    airflow.state = "failed"
    at_its_deadline(callback_url=URL, cancel_at_deadline=True)
    assert airflow.notes == airflow.started == airflow.failed == []


def test_an_api_that_is_away_is_asked_again_and_nothing_is_done_twice(airflow):
    airflow.away = 3
    at_its_deadline(callback_url=URL)
    at_its_deadline(callback_url=URL)
    assert airflow.started == ["b1__batch.late"]
