"""The board's page and parts are for those who may look; servers are fenced by those who may change pools."""

import re

import pytest
import redis
from fastapi.testclient import TestClient
from tests.servers import free_port
from tests.unit.airflow_app import token
from tests.unit.live_plant import status

from darkroom.fleet.fence import Fence, fence_file
from darkroom.fleet.servers import FenceWish, Fleet
from darkroom.monitor.board import parts, version
from darkroom.serving.board import Board
from darkroom.serving.status import State, status_file
from darkroom.settings import settings

FENCE = "/darkroom/api/servers/generate-1@box/fence"


@pytest.fixture
def fleet(url, setting):
    """The fleet with one server, as the app and a supervisor know it."""
    setting(redis_url=url)
    found = Fleet(url)
    found.tell("box", status("generate"))
    return found


@pytest.fixture
def user(airflow):
    """A client with a role."""

    def client(role, **headers):
        return TestClient(airflow, headers={"Authorization": f"Bearer {token(role)}"} | headers)

    return client


@pytest.mark.parametrize(
    ("role", "may"), [("VIEWER", ""), ("USER", "start"), ("OP", "start fence"), ("ADMIN", "start fence")]
)
def test_the_page_knows_what_its_user_may_do(user, role, may):
    assert f'data-may="{may}"' in user(role).get("/darkroom/").text


def test_the_page_runs_no_script_but_its_own_and_is_framed_by_airflow_only(user):
    answer = user("VIEWER").get("/darkroom/")
    policy = answer.headers["content-security-policy"]
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert "default-src 'none'; script-src 'self'" in policy and "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?! type=\"module\" src=)|<style|\son\w+=|\sstyle=", answer.text)


def test_all_that_the_page_loads_is_there_and_kept_for_ever(user):
    viewer = user("VIEWER")
    loaded = re.findall(r'(?:src|href)="(board/[^"]+)"', viewer.get("/darkroom/").text)
    imported = set(re.findall(r'from "\./([\w.]+)"', "".join(text.decode() for text in parts().values())))
    assert len(loaded) == 2 and imported <= parts().keys()
    for path in [*loaded, *(f"board/{version()}/{name}" for name in imported)]:
        answer = viewer.get(f"/darkroom/{path}")
        assert answer.content == parts()[path.rpartition("/")[2]]
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"] and "private" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    plain = viewer.get(f"/darkroom/{loaded[0]}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "path",
    [
        "0123456789abcdef/board.js",
        "{version}/board.html",
        "{version}/board.py",
        "{version}/..%2fboard.py",
        "{version}/..%2f..%2fsettings.py",
        "{version}/board.js%00",
        "{version}/",
        "..%2f..%2fpages.py",
    ],
)
def test_there_are_no_other_parts(user, path):
    assert user("VIEWER").get(f"/darkroom/board/{path.format(version=version())}").status_code == 404


@pytest.mark.parametrize("role", ["VIEWER", "USER"])
def test_who_may_not_change_pools_fences_no_server(user, fleet, role):
    assert user(role).put(FENCE, json={"fenced": True}).status_code == 403
    assert fleet.tell("box", status("generate")) is None


def test_a_page_of_another_site_fences_no_server(user, fleet):
    admin = user("ADMIN", **{"Sec-Fetch-Site": "cross-site"})
    assert admin.put(FENCE, json={"fenced": True}).status_code == 403
    assert admin.put("/darkroom/api/batches/b1/wish", json={"state": "paused"}).status_code == 403
    assert user("ADMIN").put(FENCE, content='{"fenced": true}').status_code == 422  # no JSON by its type
    assert fleet.tell("box", status("generate")) is None


def test_a_server_hears_once_that_it_shall_be_fenced_and_by_whom(user, fleet):
    answer = user("OP").put(FENCE, json={"fenced": True, "reason": "the fan is loud"})
    assert answer.status_code == 202
    assert fleet.tell("else", status("generate")) is None
    assert fleet.tell("box", status("generate")) == FenceWish(fenced=True, reason="the fan is loud (a OP)")
    assert fleet.tell("box", status("generate")) is None


@pytest.mark.parametrize("name", ["generate-9@box", "generate-1", "..", "a%2fb"])
def test_a_server_that_nobody_knows_is_not_there(user, fleet, name):
    asked = user("OP").put(f"/darkroom/api/servers/{name}/fence", json={"fenced": True})
    assert asked.status_code in (404, 405)


def test_without_redis_nobody_is_told_that_it_was_done(user, setting):
    setting(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert user("OP").put(FENCE, json={"fenced": True}).status_code == 503


def test_a_supervisor_puts_up_and_takes_down_the_fence_that_was_asked_for(fleet, setting, tmp_path):
    setting(home=tmp_path)
    told = Board(status("generate").model_copy(update={"host": "box"}), None, settings())
    fence = Fence(fence_file(tmp_path, "generate-1"))
    fleet.ask("generate-1@box", FenceWish(fenced=True, reason="by hand (vera)"))
    told.tell(State.READY)
    assert fence.fenced().reason == "by hand (vera)" and fence.fenced().until is None
    told.tell(State.READY)
    assert told.status.state is State.FENCED and status_file(tmp_path, "generate-1").exists()
    fleet.ask("generate-1@box", FenceWish(fenced=False))
    told.tell(State.FENCED)
    told.tell(State.FENCED)
    assert fence.fenced() is None and told.status.state is State.READY


def test_what_another_version_has_asked_is_left_alone(fleet, url):
    with redis.Redis.from_url(url) as client:
        client.set("darkroom:fence-wish:generate-1@box", '{"what": 1}')
    assert fleet.tell("box", status("generate")) is None
