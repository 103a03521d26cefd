"""Each route, by each kind of user: what is sent is made up from its schema; what comes back keeps to it."""

import json

import hypothesis
import pytest
import redis
import schemathesis
from airflow.models import DagRun
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from tests.unit.airflow_app import forget, token
from tests.unit.airflow_rows import add_run
from tests.unit.live_plant import server
from tests.unit.pictures import png
from tests.unit.plant import plan, row, run

from darkroom.fleet.plant import mark
from darkroom.live.progress import PlanNow, Progress
from darkroom.monitor.app import create_app
from darkroom.results.contact_sheet import render
from darkroom.results.manifest import collect
from darkroom.settings import settings
from darkroom.store.batches import image_path
from darkroom.store.storage import open_store

KEY = "ab" + "0" * 38
THERE = {"batch_id": "b1", "server": "generate-1@box", "name": "manifest.jsonl",
         "stage": "generate", "folder": "ab", "key": KEY}  # fmt: skip
"""What is really there; the rest of the names that are sent is made up."""
REFUSED = {401, 403, 404, 405}
UNREAD = {400, 422}
"""Bodies are read before anybody is asked who he is."""
NOT_CHECKED = [
    schemathesis.checks.positive_data_acceptance,  # a source may be named rightly, and not be there
    schemathesis.checks.ignored_auth,  # that is the last test here
    schemathesis.checks.allow_header_conformance,  # Starlette names the methods of one route of several
]

API = schemathesis.openapi.from_dict(create_app().openapi() | {"servers": [{"url": "/darkroom"}]})
API.config.generation.update(with_security_parameters=False)  # who asks is not made up
EXAMPLES = hypothesis.settings(max_examples=10, derandomize=True, database=None)


@pytest.fixture(scope="module")
def plant(airflow, valkey, tmp_path_factory):
    """A batch that has a manifest and runs again, a server, a picture; the URL of its Redis."""
    folder = tmp_path_factory.mktemp("plant")
    (folder / "a.jsonl").write_text('{"custom_id": "a", "prompt": "a circle"}\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKROOM_STORE", (folder / "store").as_uri())
        patch.setenv("DARKROOM_REDIS_URL", valkey)
        patch.setenv("DARKROOM_SOURCE_ROOTS", json.dumps([str(folder)]))
        patch.setenv("DARKROOM_DAILY", json.dumps({"source": "{day}.jsonl", "flow": "A", "at": "02:30"}))
        patch.setenv("AIRFLOW__CELERY__BROKER_URL", valkey)
        forget()
        store = open_store(settings().store_url)
        mark(store)
        batch = plan(store, [["a", "b"]], rejects=1)
        run(batch, {"00000": [row(batch, "a", picture=png("red")), row(batch, "b", "failed")]})
        render(batch, collect(batch))
        store.create(image_path("generate", KEY), png("red"))
        add_run("b1")
        Progress(valkey).plan("b1", PlanNow("A_C", 100))
        yield valkey
    forget()
    with create_session() as session:
        session.query(DagRun).delete()


def login(role):
    return {"Authorization": f"Bearer {token(role)}"}


def asked(case, airflow, plant, headers):
    """The answers to a case as it was made up, and to the same about what is there; checked by the schema."""
    how = {"app": airflow, "headers": headers, "excluded_checks": NOT_CHECKED}
    server(plant, "generate-1", lanes=2)  # tells again, else it would be forgotten
    yield case.call_and_validate(**how)
    if case.path_parameters:
        case.path_parameters.update({name: THERE[name] for name in case.path_parameters})
        yield case.call_and_validate(**how)


def acted(plant):
    """All that somebody may have changed."""
    with redis.Redis.from_url(plant) as client, create_session() as session:
        wishes = {
            key: client.get(key)
            for word in ("control", "fence-wish")
            for key in client.keys(f"darkroom:{word}:*")
        }
        runs = sorted((one.run_id, one.state) for one in session.query(DagRun))
    return wishes, runs


def test_the_schema_has_every_route_but_the_board_and_itself():
    routes = {route.path for route in create_app().routes}
    assert routes - set(API.raw_schema["paths"]) == {"/", "/board/{of}/{name}", "/api/openapi.json"}


@API.parametrize()
@EXAMPLES
def test_an_admin_gets_what_the_schema_says(case, airflow, plant):
    for answer in asked(case, airflow, plant, login("ADMIN")):
        assert answer.status_code not in {401, 403}


@API.parametrize()
@EXAMPLES
def test_a_viewer_gets_what_the_schema_says_and_changes_nothing(case, airflow, plant):
    before = acted(plant)
    for answer in asked(case, airflow, plant, login("VIEWER")):
        assert case.method == "GET" or answer.status_code in REFUSED | UNREAD
    assert acted(plant) == before


@pytest.mark.parametrize("shown", ["nothing", "no token", "a token without rights"])
@API.parametrize()
@EXAMPLES
def test_who_shows_no_token_with_rights_gets_no_data(case, airflow, plant, shown):
    headers = {"nothing": {}, "no token": {"Authorization": "Bearer nonsense"}}.get(shown, login(None))
    before = acted(plant)
    for answer in asked(case, airflow, plant, headers):
        assert answer.status_code in REFUSED | UNREAD
    assert acted(plant) == before


@pytest.mark.parametrize("fenced", [b"NaN", b'"\\ud800"', b"1e999", b'{"\\udfff": Infinity}'])
def test_what_json_cannot_say_again_is_refused_all_the_same(airflow, plant, fenced):
    client = TestClient(airflow, headers=login("ADMIN") | {"Content-Type": "application/json"})
    answer = client.put("/darkroom/api/servers/generate-1@box/fence", content=b'{"fenced": ' + fenced + b"}")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "fenced"])
