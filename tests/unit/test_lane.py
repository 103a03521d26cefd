import pytest

from darkroom.orchestration.lane import why_not_ready
from darkroom.serving.status import ServerStatus, State
from darkroom.settings import settings


@pytest.fixture
def tell(tmp_path, monkeypatch):
    """Says what this worker's server is doing, as its supervisor does."""
    path = tmp_path / "server.json"
    monkeypatch.setenv("DARKROOM_SERVER_STATUS", str(path))
    settings.cache_clear()

    def write(state: State, reason: str = "") -> None:
        ServerStatus(
            name="generate-1", stage="generate", model="m", implementation="m:M", state=state, reason=reason
        ).write(path)

    yield write
    monkeypatch.undo()
    settings.cache_clear()


def test_a_chunk_may_begin_when_its_server_is_ready(tell):
    tell(State.READY)
    assert why_not_ready() == ""


def test_a_chunk_is_put_back_from_a_host_whose_server_does_not_work(tell):
    tell(State.WAITING, "load failed: WrongWeights")
    assert why_not_ready() == "generate-1 is waiting: load failed: WrongWeights"
    tell(State.LOADING)
    assert why_not_ready() == "generate-1 is loading"


@pytest.mark.usefixtures("tell")
def test_a_server_that_nobody_tells_of_is_simply_tried():
    assert why_not_ready() == ""
