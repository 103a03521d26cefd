"""Pause, resume, cancel, retry: over a real Valkey, and Airflow's API as far as these commands use it."""

import pytest
from tests.unit.plant import plan

from darkroom.commands import admission, batches, plants, steering
from darkroom.commands.connection import CHILD_DAG_ID, DAG_ID
from darkroom.errors import BadRequest, PlantFull
from darkroom.live.control import Control
from darkroom.live.progress import PlanNow, Progress
from darkroom.rest.api import AirflowApi, ApiError, Run, RunExists
from darkroom.settings import settings
from darkroom.store.storage import open_store


class Runs(AirflowApi):
    """Airflow's runs without Airflow: what was ended, in order, and who starts a child late."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Run]] = {DAG_ID: [], CHILD_DAG_ID: []}
        self.ended: list[str] = []
        self.late: list[Run] = []

    def add(self, dag_id, run_id, batch_id, state="running"):
        self.runs[dag_id].insert(0, Run(run_id, state, {"batch_id": batch_id} if batch_id else {}))

    def call(self, method, path, params):
        found = [
            {"dag_run_id": run.run_id, "state": run.state, "conf": run.conf}
            for run in self.runs.get(path.split("/")[4], [])
            if params.get("conf_contains", "") in str(run.conf)
            and run.state in (params.get("state") or [run.state])
        ]
        page = found[params["offset"] :][: params["limit"]]
        return {"total_entries": len(found), "dag_runs": page}

    def fail(self, dag_id, run_id):
        self.ended.append(run_id)
        self.runs[dag_id] = [
            Run(run.run_id, "failed", run.conf) if run.run_id == run_id else run for run in self.runs[dag_id]
        ]
        while self.late:
            self.runs[CHILD_DAG_ID].insert(0, self.late.pop())

    def trigger(self, dag_id, run_id, conf, run_after=None):
        if any(run.run_id == run_id for run in self.runs[dag_id]):
            raise RunExists(f"exists already: {run_id}")
        self.runs[dag_id].insert(0, Run(run_id, "queued", conf))
        return run_id


@pytest.fixture
def runs(url, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKROOM_REDIS_URL", url)
    monkeypatch.setenv("DARKROOM_STORE", tmp_path.as_uri())
    settings.cache_clear()
    runs = Runs()
    for module in (plants, batches, admission):
        monkeypatch.setattr(module, "api", lambda: runs)
    yield runs
    settings.cache_clear()


def test_a_running_batch_is_paused_and_resumed(runs, url):
    runs.add(DAG_ID, "b1", "b1")
    steering.pause("b1")
    assert Control(url).state("b1") == "paused"
    steering.resume("b1")
    assert Control(url).state("b1") == ""


@pytest.mark.parametrize("ask", [steering.pause, steering.resume, steering.cancel])
def test_what_has_ended_or_never_was_can_not_be_steered(runs, ask):
    runs.add(DAG_ID, "b1", "b1", "success")
    with pytest.raises(BadRequest, match="has ended"):
        ask("b1")
    with pytest.raises(BadRequest, match="no run of image_flow works on batch 'b2'"):
        ask("b2")


def test_cancel_ends_the_parent_first_then_its_children_and_those_started_meanwhile(runs, url, capsys):
    Progress(url).plan("b1", PlanNow("A", 10))
    runs.add(DAG_ID, "b1", "b1")
    runs.add(CHILD_DAG_ID, "b1__shard000", "b1")
    runs.add(CHILD_DAG_ID, "b1__b2__shard000", "b1__b2")
    runs.late = [Run("b1__shard001", "queued", {"batch_id": "b1"})]
    steering.cancel("b1", as_json=True)
    assert runs.ended == ["b1", "b1__shard000", "b1__shard001"]
    assert Control(url).state("b1") == "cancelled"
    assert (Progress(url).active(), Progress(url).read("b1").ended) == ([], "cancelled")
    assert '"ended": ["b1", "b1__shard000", "b1__shard001"]' in capsys.readouterr().out


def test_a_batch_that_the_form_has_named_is_found_behind_many_others(runs, url):
    runs.add(DAG_ID, "from-the-form", None)
    for n in range(250):
        runs.add(DAG_ID, f"other-{n}", None, "success")
    steering.pause("from-the-form")
    assert Control(url).state("from-the-form") == "paused"


def test_cancel_can_be_repeated(runs):
    runs.add(DAG_ID, "b1", "b1")
    steering.cancel("b1")
    steering.cancel("b1")
    assert runs.ended == ["b1"]


def test_a_batch_that_was_named_by_its_run_is_found_too(runs):
    runs.add(DAG_ID, "b1", None)
    steering.cancel("b1")
    assert runs.ended == ["b1"]


def test_retry_takes_a_batch_up_with_what_was_asked_for_then(runs, url, tmp_path):
    plan(open_store(tmp_path.as_uri()), [["a"]], flow="A", respins=2)
    runs.add(DAG_ID, "b1", "b1")
    steering.cancel("b1")
    steering.retry("b1")
    newest = runs.newest_run(DAG_ID, "b1")
    assert newest.run_id == "b1__retry1"
    assert newest.conf == {
        "flow": "A", "source": "s.jsonl", "batch_id": "b1", "options": {}, "max_failed_ratio": 0.05,
        "respins": 2, "priority": "normal", "retry": True,
    }  # fmt: skip
    assert Control(url).state("b1") == ""


def test_retries_have_numbers_and_one_at_a_time(runs, tmp_path):
    plan(open_store(tmp_path.as_uri()), [["a"]])
    runs.add(DAG_ID, "b1", "b1", "failed")
    steering.retry("b1")
    with pytest.raises(BadRequest, match="b1__retry1 is still under way"):
        steering.retry("b1")
    runs.fail(DAG_ID, "b1__retry1")
    steering.retry("b1")
    assert runs.newest_run(DAG_ID, "b1").run_id == "b1__retry2"


def test_a_batch_whose_run_the_form_has_started_is_not_retried_beside_it(runs, tmp_path):
    plan(open_store(tmp_path.as_uri()), [["a"]])
    runs.add(DAG_ID, "b1", None)
    with pytest.raises(BadRequest, match="b1 is still under way"):
        steering.retry("b1")


def test_a_batch_that_ended_before_it_was_planned_is_taken_up_with_the_conf_of_its_run(runs):
    asked = {"batch_id": "b1", "flow": "A", "source": "s.jsonl"}
    runs.trigger(DAG_ID, "b1", {**asked, "deadline": "2026-01-01T00:00Z"})
    steering.cancel("b1")
    steering.retry("b1")
    assert runs.newest_run(DAG_ID, "b1").conf == {**asked, "retry": True}


def test_only_a_batch_that_somebody_asked_for_can_be_retried(runs):
    with pytest.raises(BadRequest, match="no run of image_flow works on batch 'b1'"):
        steering.retry("b1")


def test_a_name_that_is_taken_says_what_to_do(runs, tmp_path):
    plan(open_store(tmp_path.as_uri()), [["a"]])
    with pytest.raises(BadRequest, match=r"there is a batch 'b1' already: .*darkroom retry b1"):
        batches.start("s.jsonl", "A", "b1", {})
    runs.add(DAG_ID, "b2", "b2")  # not planned yet
    with pytest.raises(BadRequest, match="there is a batch 'b2' already"):
        batches.start("s.jsonl", "A", "b2", {})


def test_a_full_plant_takes_no_more_unless_somebody_insists(runs, url):
    runs.add(DAG_ID, "b1", "b1")
    Progress(url).plan("b1", PlanNow("A", 10**9))
    with pytest.raises(PlantFull):
        admission.check_backlog(force=False)
    admission.check_backlog(force=True)


def test_what_a_person_ended_by_hand_keeps_nobody_out(runs, url):
    runs.add(DAG_ID, "b1", "b1", "failed")
    Progress(url).plan("b1", PlanNow("A", 10**9))
    admission.check_backlog(force=False)
    assert Progress(url).read("b1").ended == "failed"


def test_to_end_a_run_is_tried_again_when_airflow_deadlocks_with_its_scheduler():
    class Deadlocked(AirflowApi):
        asked = 0

        def call(self, method, path, **arguments):
            self.asked += 1
            if self.asked == 1:
                raise ApiError("Airflow's API answered 500: Database error")

    api = Deadlocked("http://127.0.0.1")
    api.fail(DAG_ID, "r")
    assert api.asked == 2
