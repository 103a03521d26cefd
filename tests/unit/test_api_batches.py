"""Darkroom's routes, and the commands that use them: a real server with Airflow's own logins and tables."""

import json
from datetime import UTC, date, datetime

import httpx
import pyarrow.parquet as pq
import pytest
from airflow.models import DagRun
from airflow.utils.session import create_session
from fastapi import FastAPI
from tests.loopback import served
from tests.unit.airflow_app import token
from tests.unit.commandline import command
from tests.unit.plant import plan, row, run

from darkroom.commands import elsewhere, plants, showing
from darkroom.live.control import Control
from darkroom.live.progress import PlanNow, Progress
from darkroom.results.manifest import collect
from darkroom.settings import settings
from darkroom.store.storage import open_store

DAILY = {"source": "inputs/{day}.jsonl", "flow": "A", "time_zone": "Europe/Berlin", "at": "02:30"}


@pytest.fixture
def store(address, url, tmp_path, monkeypatch):
    """The plant's store; the plant's settings are also what this process has, but for a test of a client."""
    monkeypatch.setenv("DARKROOM_STORE", tmp_path.as_uri())
    monkeypatch.setenv("DARKROOM_REDIS_URL", url)
    monkeypatch.setenv("DARKROOM_SOURCE_ROOTS", json.dumps([str(tmp_path)]))
    monkeypatch.setenv("DARKROOM_DAILY", json.dumps(DAILY))
    pages = {"prompts": {"root": "https://api.example.com/v1/prompts", "next": "next"}}
    monkeypatch.setenv("DARKROOM_PAGES", json.dumps(pages))
    monkeypatch.setenv("DARKROOM_API_URL", address)
    settings.cache_clear()
    yield open_store(tmp_path.as_uri())
    settings.cache_clear()
    with create_session() as session:
        session.query(DagRun).delete()


@pytest.fixture
def user(address, store):
    with httpx.Client(
        base_url=f"{address}/darkroom/api", headers={"Authorization": f"Bearer {token('user')}"}
    ) as client:
        yield client


@pytest.fixture
def away(store, monkeypatch):
    """The plant as a command elsewhere has it; the server in this process keeps its settings."""
    elsewhere.session.cache_clear()
    monkeypatch.setenv("DARKROOM_API_TOKEN", token("user"))
    settings.cache_clear()
    monkeypatch.setattr(elsewhere, "is_elsewhere", lambda: True)
    monkeypatch.setattr(plants, "is_elsewhere", lambda: True)
    yield plants.plant
    elsewhere.session.cache_clear()


def add_run(dag_id, run_id, batch_id, state, at=1):
    with create_session() as session:
        session.add(
            DagRun(
                dag_id=dag_id, run_id=run_id, run_type="manual", state=state,
                run_after=datetime(2026, 1, at, tzinfo=UTC), conf={"batch_id": batch_id},
            )
        )  # fmt: skip


def finished(store):
    batch = plan(store, [["a", "b"]], flow="A")
    run(batch, {"00000": [row(batch, "a"), row(batch, "b", "failed")]}, "generate")
    return collect(batch)


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/batches/b1"), ("GET", "/batches/b1/request"), ("PUT", "/batches/b1/wish"), ("GET", "/daily"),
    ("POST", "/batches/check"),
])  # fmt: skip
def test_nobody_is_told_anything_without_a_login_or_without_rights(address, store, method, path):
    body = {"state": "cancelled", "source": "x"}
    for headers, status in (({}, 401), ({"Authorization": "Bearer nonsense"}, 403),
                            ({"Authorization": f"Bearer {token(None)}"}, 403)):  # fmt: skip
        answer = httpx.request(method, f"{address}/darkroom/api{path}", headers=headers, json=body)
        assert answer.status_code == status
        assert list(answer.json()) == ["detail"]


def test_who_may_only_look_can_neither_steer_nor_ask_for_a_source(address, store):
    add_run("image_flow", "b1", "b1", "running")
    headers = {"Authorization": f"Bearer {token('viewer')}"}
    with httpx.Client(base_url=f"{address}/darkroom/api", headers=headers) as viewer:
        assert viewer.put("/batches/b1/wish", json={"state": "paused"}).status_code == 403
        assert viewer.post("/batches/check", json={"source": "x"}).status_code == 403
        assert viewer.get("/batches/b1").json()["run_state"] == "running"


def test_a_batch_is_told_as_darkroom_show_tells_it(user, store, monkeypatch, capsys):
    finished(store)
    add_run("image_flow", "b1", "b1", "failed", at=1)
    add_run("image_flow", "b1__retry1", "b1", "running", at=2)
    add_run("image_flow", "b1x", "b1x", "success", at=3)
    told = user.get("/batches/b1").json()
    assert (told["run_id"], told["run_state"], told["summary"]["completed"]) == ("b1__retry1", "running", 1)

    class Airflow:
        def newest_run(self, dag_id, batch_id):
            from darkroom.rest.api import Run

            return Run("b1__retry1", "running", {"batch_id": "b1"})

    monkeypatch.setattr(plants, "api", Airflow)
    showing.show("b1", as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert told | {"seen": 0} == shown | {"seen": 0}


def test_a_batch_that_is_not_planned_yet_or_was_named_by_its_run_is_known_by_its_run(user, store):
    add_run("image_flow", "manual__2026-01-01", None, "queued")
    for n in range(120):
        add_run("image_flow", f"other-{n}", f"other-{n}", "success", at=2)
    name = "manual__2026-01-01"
    assert user.get(f"/batches/{name}").json()["state"] == "queued"
    assert user.get(f"/batches/{name}/request").status_code == 404


@pytest.mark.parametrize("name", ["none", "..%2f..%2fetc", "%00", "a" * 200, "check"])
def test_what_is_no_batch_is_not_found_or_refused(user, store, name):
    assert user.get(f"/batches/{name}").status_code in (400, 404)


def test_a_wish_is_heard_by_the_chunks_until_the_batch_has_ended(user, store, url):
    add_run("image_flow", "b1", "b1", "running")
    add_run("shard_flow", "b1__shard000", "b1", "running")
    for state, heard in (("paused", "paused"), ("running", ""), ("cancelled", "cancelled")):
        assert user.put("/batches/b1/wish", json={"state": state}).json() == {"state": state}
        assert Control(url).state("b1") == heard
    refused = user.put("/batches/b1/wish", json={"state": "running"})
    assert (refused.status_code, "is cancelled" in refused.json()["detail"]) == (400, True)
    with create_session() as session:
        for one in session.query(DagRun):
            one._state = "failed"
    assert user.put("/batches/b1/wish", json={"state": "cancelled"}).status_code == 200
    assert user.put("/batches/b1/wish", json={"state": "running"}).status_code == 200  # ready for a retry
    for state in ("paused", "cancelled"):
        assert "has ended" in user.put("/batches/b1/wish", json={"state": state}).json()["detail"]


def test_a_wish_that_is_none_is_refused(user, store):
    add_run("image_flow", "b1", "b1", "running")
    assert user.put("/batches/b1/wish", json={"state": "asleep"}).status_code == 422
    assert user.put("/batches/b1/wish", json={"state": "paused", "why": "x"}).status_code == 422
    assert user.put("/batches/none/wish", json={"state": "paused"}).status_code == 404


def test_a_source_is_refused_before_a_run_is_started(user, store, tmp_path, url):
    (tmp_path / "a.jsonl").write_text("{}\n")
    assert user.post("/batches/check", json={"source": "a.jsonl", "flow": "A"}).status_code == 200
    for source, told in (("/etc/passwd", "outside"), ("b.jsonl", "is not there"), ("../a.jsonl", "")):
        answer = user.post("/batches/check", json={"source": source, "flow": "A"})
        assert answer.status_code == 400
        assert told in answer.json()["detail"]
    paged = {"source": "https://api.example.com/v1/prompts?page=1", "flow": "A"}
    assert user.post("/batches/check", json=paged).status_code == 200
    wrong = {"source": "a.jsonl", "flow": "A", "options": {"inspect": {}}}
    refused = user.post("/batches/check", json=wrong)
    assert (refused.status_code, "has no stage 'inspect'" in refused.json()["detail"]) == (400, True)
    unknown = user.post("/batches/check", json={"source": "a.jsonl", "flow": "X"})
    assert (unknown.status_code, "choose one of A, A_C" in unknown.json()["detail"]) == (400, True)
    Progress(url).plan("b1", PlanNow("A", 10**9))
    full = user.post("/batches/check", json={"source": "a.jsonl", "flow": "A"})
    assert (full.status_code, "hours of work wait" in full.json()["detail"]) == (429, True)
    assert (
        user.post("/batches/check", json={"source": "a.jsonl", "flow": "A", "force": True}).status_code == 200
    )


def test_commands_elsewhere_see_what_those_on_the_plant_see(away, store, capsys):
    summary = finished(store)
    add_run("image_flow", "b1", "b1", "success")
    seen = away().sight("b1")
    assert (seen.summary, seen.outlook.flow, seen.run_state) == (summary, "A", "success")
    assert away().look("b1", "b1", "A")[0] == "success"
    assert away().request("b1")["source"] == "s.jsonl"
    assert away().request("b2") is None
    assert away().daily().start(date(2026, 7, 2)) == datetime(2026, 7, 2, 0, 30, tzinfo=UTC)
    assert command("show", "b1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["summary"]["failed"] == 1


def test_a_result_is_fetched_whole_as_lines_or_as_a_table(away, store, tmp_path, capsys):
    finished(store)
    add_run("image_flow", "b1", "b1", "success")
    assert command("result", "b1") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["custom_id"], one["status"]) for one in rows] == [("a", "completed"), ("b", "failed")]
    folder = tmp_path / "out"
    assert command("result", "b1", "-o", f"{folder}/", "--format", "parquet", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["file"], told["summary"]["items"]) == ("success", f"{folder}/b1.parquet", 2)
    assert pq.read_table(told["file"])["custom_id"].to_pylist() == ["a", "b"]
    assert [path.name for path in folder.iterdir()] == ["b1.parquet"]
    assert command("result", "b1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["file"] is None


def test_a_result_says_by_its_exit_code_whether_it_is_there(away, store, tmp_path, capsys):
    plan(store, [["a"]], flow="A")
    assert command("result", "b1") == 1
    assert "has no manifest yet" in capsys.readouterr().err
    assert command("result", "b2") == 2
    finished(store)
    assert command("result", "b1", "--format", "parquet") == 2
    (tmp_path / "plain").write_text("")
    assert command("result", "b1", "-o", str(tmp_path / "plain" / "x")) == 2
    assert "-o " in capsys.readouterr().err


def test_a_local_file_is_not_uploaded_and_submit_says_so(away, store, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    mine = tmp_path.parent / "mine.jsonl"
    mine.write_text("{}\n")
    assert command("submit", "mine.jsonl", "--flow", "A") == 2
    assert "is on this machine, and nothing is uploaded" in capsys.readouterr().err


def test_what_reads_the_store_says_that_it_can_not_elsewhere(store, monkeypatch, capsys):
    monkeypatch.delenv("DARKROOM_REDIS_URL")
    settings.cache_clear()
    for arguments in (["verify", "b1"], ["item", "b1", "a"], ["batches"]):
        assert command(*arguments) == 2
        assert "only HTTP leads to the plant" in capsys.readouterr().err


@pytest.mark.parametrize(("variables", "code", "told"), [
    ({"DARKROOM_API_TOKEN": "a-secret"}, 2, "does not let this token"),
    ({}, 2, "who asks?"),
    ({"DARKROOM_API_PASSWORD": "a-secret", "DARKROOM_API_USER": "eve"}, 2, "log-in as eve"),
    ({"DARKROOM_API_URL": "http://127.0.0.1:1", "DARKROOM_API_TOKEN": "a-secret"}, 3, "does not answer"),
    ({"DARKROOM_API_URL": "http://plant.example.org", "DARKROOM_API_TOKEN": "a-secret"}, 2, "anybody on"),
    ({"DARKROOM_API_URL": "plant.example.org", "DARKROOM_API_TOKEN": "a-secret"}, 2, "an address such as"),
])  # fmt: skip
def test_who_can_not_get_in_is_told_why_and_no_secret_is(store, monkeypatch, capsys, variables, code, told):
    elsewhere.session.cache_clear()
    monkeypatch.delenv("DARKROOM_REDIS_URL")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    try:
        assert command("show", "b1") == code
    finally:
        elsewhere.session.cache_clear()
    said = capsys.readouterr()
    assert told in said.err
    assert "a-secret" not in said.out + said.err


def test_no_session_shows_its_secrets():
    from darkroom.rest.api import AirflowApi

    assert "hidden" not in repr(AirflowApi("http://127.0.0.1:1", "u", "hidden", token="hidden"))


def test_an_address_that_is_no_airflow_is_said_to_be_none(monkeypatch, store, capsys):
    elsewhere.session.cache_clear()
    app = FastAPI()

    @app.get("/{path:path}")
    def page(path: str) -> str:
        from fastapi.responses import HTMLResponse

        return HTMLResponse("<html>")

    monkeypatch.delenv("DARKROOM_REDIS_URL")
    monkeypatch.setenv("DARKROOM_API_TOKEN", "t")
    with served(app) as url:
        monkeypatch.setenv("DARKROOM_API_URL", url)
        settings.cache_clear()
        assert command("show", "b1") == 3
    assert "answered no JSON" in capsys.readouterr().err
    elsewhere.session.cache_clear()


def test_at_a_terminal_the_password_is_asked_for(setting, monkeypatch):
    setting(api_url="http://127.0.0.1:1", api_user="ann", api_token="", api_password="")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("getpass.getpass", lambda text: asked.append(text) or "secret")
    elsewhere.session.cache_clear()
    assert elsewhere.session().password == "secret"
    assert asked == ["password of ann at http://127.0.0.1:1: "]
    elsewhere.session.cache_clear()
