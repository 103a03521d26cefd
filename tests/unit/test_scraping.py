import json

import pytest

from darkroom.serving.scraping import targets_file, write_targets
from darkroom.serving.status import ServerStatus, State
from darkroom.stack.home import Home

STATUS = ServerStatus(
    name="generate-1", host="box", stage="generate", model="m", implementation="x:Y", state=State.LOADING,
    url="http://127.0.0.1:8101",
)  # fmt: skip


def test_prometheus_finds_a_server_by_its_address_and_what_it_is(tmp_path):
    path = targets_file(tmp_path, "generate-1")
    write_targets(path, STATUS)
    assert json.loads(path.read_text()) == [
        {
            "targets": ["127.0.0.1:8101"],
            "labels": {"stage": "generate", "host": "box", "server": "generate-1"},
        }
    ]
    assert [file.name for file in path.parent.iterdir()] == ["generate-1.json"]


def test_what_an_earlier_start_wrote_is_forgotten(tmp_path):
    path = targets_file(tmp_path, "generate-1")
    write_targets(path, STATUS)
    Home(tmp_path).forget_servers()
    assert not path.exists()


def test_a_folder_that_takes_no_file_stops_no_server(tmp_path, caplog):
    (tmp_path / "run").write_text("a file")
    write_targets(targets_file(tmp_path, "generate-1"), STATUS)
    assert "not written" in caplog.text


@pytest.mark.parametrize("other", ["metrics-token", "supervisor.conf"])
def test_only_what_servers_said_is_forgotten(tmp_path, other):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / other).touch()
    Home(tmp_path).forget_servers()
    assert (tmp_path / "run" / other).exists()
