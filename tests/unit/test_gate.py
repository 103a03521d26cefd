"""What is put back before a chunk begins: over real status files and fences."""

import time

import pytest

from darkroom.orchestration import gate
from darkroom.serving.status import ServerStatus, State, status_file
from darkroom.settings import settings


@pytest.fixture
def tell(tmp_path, monkeypatch):
    """Says what this worker's server is doing, as its supervisor does."""
    path = status_file(tmp_path, "generate-1")
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    monkeypatch.setenv("DARKROOM_SERVER_STATUS", str(path))
    settings.cache_clear()

    def write(state: State, reason: str = "", silent_s: float = 0) -> None:
        ServerStatus(
            name="generate-1", stage="generate", model="m", implementation="m:M", state=state, reason=reason,
            updated=time.time() - silent_s,
        ).write(path)  # fmt: skip

    yield write
    monkeypatch.undo()
    settings.cache_clear()


def test_a_chunk_may_begin_when_its_server_is_ready(tell):
    tell(State.READY)
    assert gate.why_not_ready() == gate.why_not_ready("generate-1") == ""


def test_a_chunk_is_put_back_from_a_host_whose_server_does_not_work(tell):
    tell(State.WAITING, "load failed: WrongWeights")
    assert gate.why_not_ready() == "generate-1 is waiting: load failed: WrongWeights"
    tell(State.LOADING)
    assert gate.why_not_ready() == gate.why_not_ready("generate-1") == "generate-1 is loading"


@pytest.mark.usefixtures("tell")
def test_a_server_that_nobody_tells_of_is_simply_tried():
    assert gate.why_not_ready() == ""
    assert gate.why_not_ready("generate-7") == ""


def test_a_server_without_a_supervisor_is_simply_tried(monkeypatch, tell):
    monkeypatch.delenv("DARKROOM_SERVER_STATUS")
    settings.cache_clear()
    assert gate.this_server() == ""
    assert gate.why_not_ready() == ""


def test_a_fence_shuts_the_gate_before_the_supervisor_has_seen_it(tell):
    tell(State.READY)
    fence = gate.fence_of(gate.this_server())
    fence.strike("no such device")
    assert gate.why_not_ready() == ""
    fence.strike("no such device")
    assert gate.why_not_ready() == "generate-1 is fenced: no such device"
    assert gate.why_stop() == gate.why_stop("generate-1") == gate.why_not_ready()
    assert gate.why_not_ready("generate-2") == gate.why_stop("generate-2") == ""
    fence.take_down()
    assert gate.why_not_ready() == ""


def test_a_host_that_drains_takes_nothing_new(tell, tmp_path):
    tell(State.READY)
    (tmp_path / "drain").touch()
    assert gate.why_not_ready() == gate.why_stop() == "this host is draining"


def test_a_server_whose_supervisor_has_gone_takes_nothing(tell):
    tell(State.READY, silent_s=100)
    assert gate.why_not_ready() == "generate-1 has told nothing for 100 s"
