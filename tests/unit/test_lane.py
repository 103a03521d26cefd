"""Which server a chunk is sent to, and how."""

import json
import platform

import pytest

from darkroom.errors import ServerGone
from darkroom.flows import STAGES
from darkroom.orchestration.lane import Server, choose_server, open_lane
from darkroom.serving.status import ServerStatus, State, status_file
from darkroom.settings import settings

INSPECT = STAGES["inspect"]


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Says which servers this worker has, and what their supervisors say of them."""
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))

    def set_up(urls, status_of="", **states):
        monkeypatch.setenv("DARKROOM_SERVER_URLS", json.dumps({"inspect": urls}))
        if status_of:
            monkeypatch.setenv("DARKROOM_SERVER_STATUS", str(status_file(tmp_path, status_of)))
        for key, state in states.items():
            name = key.replace("_", "-")
            ServerStatus(name=name, stage="inspect", model="m", implementation="m:M", state=state).write(
                status_file(tmp_path, name)
            )
        settings.cache_clear()

    yield set_up
    monkeypatch.undo()
    settings.cache_clear()


def test_a_bulk_lane_feeds_the_queue_of_its_worker_s_own_server(worker):
    worker("http://127.0.0.1:8104", status_of="inspect-1")
    assert choose_server(INSPECT) == Server("http://127.0.0.1:8104", "inspect-1")
    with open_lane(INSPECT) as lane:
        assert lane.client.url == "http://127.0.0.1:8104"
        assert lane.ahead_lock is not None


def test_a_lane_of_who_can_not_wait_goes_to_a_door_and_tells_of_its_server(worker):
    worker(["unix:///run/inspect-2.sock"])
    with open_lane(INSPECT) as lane:
        assert lane.client.url == "unix:///run/inspect-2.sock"
        assert lane.host == f"inspect-2@{platform.node()}"
        assert lane.ahead_lock is None


def test_both_lanes_of_a_server_try_an_item_alone_one_after_the_other(worker):
    worker("http://127.0.0.1:8104", status_of="inspect-1")
    with open_lane(INSPECT) as bulk, open_lane(INSPECT, Server.at("unix:///run/inspect-1.sock")) as now:
        assert bulk.alone_lock == now.alone_lock


def test_of_several_servers_one_that_is_ready_is_chosen(worker):
    doors = ["unix:///run/inspect-1.sock", "unix:///run/inspect-2.sock", "unix:///run/inspect-3.sock"]
    worker(doors, inspect_1=State.WAITING, inspect_2=State.READY, inspect_3=State.LOADING)
    assert {choose_server(INSPECT).name for _ in range(20)} == {"inspect-2"}


def test_where_none_is_ready_one_is_named_all_the_same(worker):
    worker(["unix:///run/inspect-1.sock", "unix:///run/inspect-2.sock"], inspect_1=State.WAITING,
           inspect_2=State.LOADING)  # fmt: skip
    assert choose_server(INSPECT).name in {"inspect-1", "inspect-2"}


def test_a_worker_without_a_server_of_the_stage_says_what_to_set(worker):
    worker([])
    with pytest.raises(ServerGone, match="DARKROOM_SERVER_URLS"):
        choose_server(INSPECT)
