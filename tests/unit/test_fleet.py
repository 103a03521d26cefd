"""Who is there, and which plant it is: over a real Valkey."""

import json

import pytest
import redis
from tests.servers import free_port
from tests.unit.live_plant import status

from darkroom.fleet.plant import MARKER, CannotJoin, announce, check_that_it_is_ours, mark
from darkroom.fleet.servers import Fleet, FleetUnknown
from darkroom.records import SCHEMA_VERSION
from darkroom.serving.status import State
from darkroom.store.storage import open_store


@pytest.fixture
def nobody():
    """A URL where no Redis answers."""
    return f"redis://127.0.0.1:{free_port()}/0"


def test_a_server_is_told_of_with_the_host_that_told(url):
    Fleet(url).tell("box:1", status("generate"))
    (server,) = Fleet(url).servers()
    assert (server.host, server.worker) == ("box:1", "generate-1@box:1")


def test_what_waits_for_a_server_is_told_why(url):
    fleet = Fleet(url)
    fleet.tell("h1", status("generate"))
    fleet.tell("h2", status("generate", State.LOADING))
    fleet.tell("h1", status("inspect", State.FENCED).model_copy(update={"reason": "no such device"}))
    assert fleet.waiting(["generate", "enhance", "inspect"]) == {
        "enhance": "there is no server of it",
        "inspect": "h1: inspect-1 is fenced: no such device",
    }


def test_a_server_is_known_by_its_host_and_name_and_told_anew_replaces_what_was_told(url):
    fleet = Fleet(url)
    fleet.tell("h1", status("generate", State.LOADING))
    fleet.tell("h1", status("generate"))
    fleet.tell("h1", status("generate", name="generate-2"))
    assert [(server.name, server.state) for server in sorted(fleet.servers(), key=lambda one: one.name)] == [
        ("generate-1", State.READY),
        ("generate-2", State.READY),
    ]
    fleet.forget("h1", status("generate"))
    assert [server.name for server in fleet.servers()] == ["generate-2"]


def test_what_nobody_renews_goes_by_itself(url):
    Fleet(url).tell("h1", status("generate"))
    with redis.Redis.from_url(url) as client:
        (key,) = client.keys("darkroom:server:*")
        assert 0 < client.ttl(key) <= 30


def test_a_redis_that_is_down_stops_no_server_but_is_no_empty_fleet_either(nobody):
    fleet = Fleet(nobody)
    fleet.tell("h1", status("generate"))
    with pytest.raises(FleetUnknown):
        fleet.servers()


def test_a_host_of_the_same_store_and_version_may_join(url, tmp_path):
    store = open_store(tmp_path.as_uri())
    assert mark(store) == mark(store), "the marker is written once"
    announce(mark(store), url)
    check_that_it_is_ours(open_store(tmp_path.as_uri()), url)


def test_a_host_with_a_store_of_its_own_is_refused_and_told_why(url, tmp_path):
    announce(mark(open_store((tmp_path / "plant").as_uri())), url)
    (tmp_path / "mine").mkdir()
    mine = open_store((tmp_path / "mine").as_uri())
    with pytest.raises(CannotJoin, match=r"mine holds no plant's marker.*set DARKROOM_STORE"):
        check_that_it_is_ours(mine, url)
    mine.create_json(MARKER, {"plant_id": "other"})
    with pytest.raises(CannotJoin, match=r"marker of another plant \(other\)"):
        check_that_it_is_ours(mine, url)


def test_a_control_plane_of_another_record_version_is_refused(url, tmp_path):
    store = open_store(tmp_path.as_uri())
    told = {"plant_id": mark(store), "schema_version": SCHEMA_VERSION + 1}
    with redis.Redis.from_url(url) as client:
        client.set("darkroom:plant", json.dumps(told))
    with pytest.raises(CannotJoin, match=rf"records of version {SCHEMA_VERSION + 1}, this host of version"):
        check_that_it_is_ours(store, url)


def test_without_a_control_plane_there_is_nothing_to_join(url, nobody, tmp_path):
    store = open_store(tmp_path.as_uri())
    with pytest.raises(CannotJoin, match="no control plane has announced itself"):
        check_that_it_is_ours(store, url)
    with pytest.raises(CannotJoin, match="does not answer"):
        check_that_it_is_ours(store, nobody)
