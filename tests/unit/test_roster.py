"""What `darkroom fleet`, `fence` and `unfence` say: over a real Valkey and real files."""

import json
import time

import pytest
from rich.console import Console
from typer.testing import CliRunner

from darkroom.cli import app
from darkroom.commands.fleet import span
from darkroom.errors import BadRequest
from darkroom.fleet.fence import Fence, fence_file
from darkroom.fleet.roster import machines, roster
from darkroom.fleet.servers import Fleet
from darkroom.live.rates import Rates
from darkroom.serving.status import GpuStatus, LoadReport, ServerStatus, State, status_file
from darkroom.settings import settings

GPU = GpuStatus(
    index=1, uuid="GPU-1", name="NVIDIA H200", temperature_c=61, memory_used_mb=5, memory_total_mb=9,
    xid_errors=[79],
)  # fmt: skip


@pytest.fixture
def darkroom(tmp_path, url, monkeypatch):
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    monkeypatch.setenv("DARKROOM_REDIS_URL", url)
    monkeypatch.setattr("darkroom.commands.fleet.console", Console(width=200))
    settings.cache_clear()
    yield lambda *arguments: CliRunner().invoke(app, arguments)
    monkeypatch.undo()
    settings.cache_clear()


def server(name: str, stage: str = "generate", state: State = State.READY, **fields) -> ServerStatus:
    return ServerStatus(
        name=name, stage=stage, model="m@1", implementation="m:M", state=state, lanes=2, **fields
    )


@pytest.fixture
def fleet(url):
    fleet = Fleet(url)
    loaded = LoadReport(device="cuda:0 NVIDIA H200")
    fleet.tell(
        "box", server("generate-gpu1", gpu=GPU, loaded=loaded, since=time.time() - 200, last_end="hung")
    )
    fleet.tell("box", server("inspect-gpu1", "inspect", State.FENCED, reason="no such device"))
    fleet.tell("desk", server("generate-1"))
    Rates(url).tell("generate", "m@1", "generate-gpu1@box", 100, 25.0)
    return fleet


def test_each_server_is_listed_with_what_was_measured_of_it(fleet, url):
    entries = roster(fleet.servers(), Rates(url))
    assert [(entry.host, entry.name) for entry in entries] == [
        ("box", "generate-gpu1"), ("desk", "generate-1"), ("box", "inspect-gpu1"),
    ]  # fmt: skip
    assert [entry.seconds_per_item for entry in entries] == [0.25, None, None]
    assert entries[0].measured_items == 100


def test_machines_count_what_is_ready_and_what_is_fenced(fleet, url):
    box, desk = machines(roster(fleet.servers(), Rates(url)))
    assert (box.host, box.servers, box.ready, box.fenced, box.lanes) == ("box", 2, 1, 1, 2)
    assert (desk.host, desk.servers, desk.ready, desk.fenced, desk.lanes) == ("desk", 1, 1, 0, 2)


@pytest.mark.usefixtures("fleet")
def test_the_fleet_as_json_holds_servers_machines_and_who_waits(darkroom):
    done = darkroom("fleet", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["servers"][0]["gpu"]["xid_errors"] == [79]
    assert found["servers"][0]["device"] == "cuda:0 NVIDIA H200"
    assert [machine["host"] for machine in found["machines"]] == ["box", "desk"]
    assert found["waiting"] == {
        "enhance": "there is no server of it",
        "inspect": "box: inspect-gpu1 is fenced: no such device",
    }


@pytest.mark.usefixtures("fleet")
def test_the_fleet_as_a_table_says_why(darkroom):
    said = darkroom("fleet").output
    for word in ("3 min", "NVIDIA H200 (1)", "61", "0.25", "restarted: hung", "no such device", "1 fenced"):
        assert word in said
    assert "enhance: its chunks wait: there is no server of it" in said


def test_a_server_of_this_machine_is_fenced_and_taken_back_by_hand(darkroom, tmp_path):
    server("generate-1").write(status_file(tmp_path, "generate-1"))
    fence = Fence(fence_file(tmp_path, "generate-1"))
    assert darkroom("fence", "generate-1", "--reason", "loud").exit_code == 0
    assert fence.fenced().reason == "loud"
    assert "takes chunks again" in darkroom("unfence", "generate-1").output
    assert fence.fenced() is None
    assert "was not fenced" in darkroom("unfence", "generate-1").output


def test_a_server_of_a_worker_on_this_machine_is_found_too(darkroom, tmp_path):
    home = tmp_path / "workers" / "generate-gpu0"
    server("generate-gpu0").write(status_file(home, "generate-gpu0"))
    darkroom("fence", "generate-gpu0")
    assert Fence(fence_file(home, "generate-gpu0")).fenced()


def test_a_server_that_is_not_here_is_refused_with_those_that_are(darkroom, tmp_path):
    server("generate-1").write(status_file(tmp_path, "generate-1"))
    LoadReport().write(tmp_path / "run" / "servers" / "generate-1.load.json")
    done = darkroom("fence", "generate-7")
    assert isinstance(done.exception, BadRequest)
    assert "no server 'generate-7'; it has: generate-1." in str(done.exception)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (90_000, "1 d"), (-3, "0 s")],
)
def test_a_length_of_time_is_told_in_one_unit(seconds, text):
    assert span(seconds) == text
