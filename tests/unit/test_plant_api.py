"""The plant over HTTP: for those who may look, from Airflow's own tables, one look shared by all who ask."""

from datetime import UTC, datetime

import pytest
from airflow.models import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from tests.unit.airflow_rows import BEGUN, add_chunks, add_run

from darkroom.live.progress import PlanNow, Progress
from darkroom.monitor import chunks, plant_api
from darkroom.monitor.plant_api import Looks
from darkroom.settings import settings
from darkroom.views.overview import Overview
from darkroom.views.survey import Surveyor


@pytest.fixture
def plant(users, url, monkeypatch):
    """Airflow's tables and Redis, both empty."""
    monkeypatch.setenv("DARKROOM_REDIS_URL", url)
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", url)
    settings.cache_clear()
    plant_api.looks.cache_clear()
    add_run("b0", "success")  # to whom all chunks here belong
    yield users
    settings.cache_clear()
    plant_api.looks.cache_clear()
    with create_session() as session:
        session.query(TaskInstance).delete()
        session.query(DagRun).delete()


def look():
    with create_session() as session:
        return chunks.look(session)


def test_chunks_are_counted_by_stage_and_by_where_they_are(plant):
    add_chunks("gpu_inspect", "scheduled", 14)
    add_chunks("gpu_inspect_now", "scheduled")
    add_chunks("gpu_inspect", "queued", 2)
    add_chunks("gpu_inspect", "running", 3)
    add_chunks("gpu_inspect", "up_for_retry")
    add_chunks("gpu_inspect", "up_for_reschedule", 2)
    add_chunks("gpu_inspect", "deferred", 4)
    add_chunks("gpu_inspect", "success", 50)
    add_chunks("gpu_generate", "running")
    add_chunks("light", "running", 9)
    seen = look().chunks
    assert set(seen) == {"inspect", "generate"}
    inspect = seen["inspect"]
    assert (inspect.scheduled, inspect.queued, inspect.running) == (15, 2, 3)
    assert (inspect.put_back, inspect.paused) == (3, 4)


def test_the_measured_wait_is_the_mean_of_those_that_run(plant):
    add_chunks("gpu_inspect", "running", 3, waited_s=10)
    add_chunks("gpu_inspect_now", "running", 1, waited_s=2)
    add_chunks("gpu_inspect", "success", 5, waited_s=1000)
    add_chunks("gpu_inspect", "running", 1, waited_s=-60)  # put back after its first start
    assert look().chunks["inspect"].waited_s == 8.0


def test_the_longest_wait_is_that_of_the_oldest_chunk_that_is_ready(plant):
    add_chunks("gpu_inspect", "scheduled", 2, ready_s=-3600)
    add_chunks("gpu_inspect", "scheduled", 2)
    now = datetime.now(UTC)
    assert look().chunks["inspect"].longest_s == pytest.approx((now - BEGUN).total_seconds() + 3600, abs=60)
    add_chunks("gpu_generate", "running")
    assert look().chunks["generate"].longest_s is None


def test_runs_are_known_by_their_batch_until_they_end(plant):
    add_run("b1")
    add_run("b2", "queued")
    add_run("b3", "success")
    add_run("b4", dag_id="shard_flow")
    add_run("b5", conf={"flow": "A"})
    seen = look().runs
    assert {name: run.state for name, run in seen.items()} == {
        "b1": "running", "b2": "queued", "run-b5": "running"
    }  # fmt: skip


def test_who_may_look_sees_the_plant_and_nobody_else_does(plant, url):
    add_run("b1")
    Progress(url).plan("b1", PlanNow("A_C", 100))
    assert plant["nobody"].get("/darkroom/api/plant").status_code == 401
    assert plant["without rights"].get("/darkroom/api/plant").status_code == 403
    answer = plant["viewer"].get("/darkroom/api/plant")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    seen = Overview.model_validate_json(answer.content)
    assert answer.headers["content-encoding"] == "gzip"
    plain = plant["viewer"].get("/darkroom/api/plant", headers={"Accept-Encoding": "identity"})
    assert (plain.content, "content-encoding" in plain.headers) == (answer.content, False)
    assert [one.outlook.batch_id for one in seen.batches] == ["b1"]
    assert seen.unknown == []
    assert seen.bottleneck.kind == "no_server"


def test_the_schema_is_told_to_those_who_may_look_and_says_what_each_number_is(plant):
    assert plant["nobody"].get("/darkroom/api/openapi.json").status_code == 401
    schema = plant["viewer"].get("/darkroom/api/openapi.json").json()
    assert schema["servers"] == [{"url": "/darkroom"}]
    told = schema["paths"]["/api/plant"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert told == {"$ref": "#/components/schemas/Overview"}
    wait = schema["components"]["schemas"]["Wait"]["properties"]
    assert all(field["description"] for field in wait.values())


class Counted(Surveyor):
    looked = 0

    def look(self, airflow):
        self.looked += 1
        return super().look(airflow)


def test_ten_who_ask_at_once_get_one_look(plant, monkeypatch):
    surveyor = Counted("", "")
    looks = Looks(surveyor)
    with create_session() as session:
        bodies = {looks.latest(session)[1] for _ in range(10)}
        assert (surveyor.looked, len(bodies)) == (1, 1)
        monkeypatch.setattr(looks, "_until", 0.0)
        looks.latest(session)
    assert surveyor.looked == 2
