import json
import time
from http.server import BaseHTTPRequestHandler

import pytest
from tests.loopback import LoopbackServer, Quiet
from tests.servers import free_port

from darkroom.serving.status import ServerStatus, State, status_file
from darkroom.stack import probe
from darkroom.stack.home import Home


@pytest.fixture
def api_server(setting):
    """An api-server that tells `body` of the health of its parts."""
    told = {}

    class Health(Quiet, BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

    with LoopbackServer(Health).at_work() as server:
        setting(api_url=server.address)
        yield told


@pytest.fixture
def server(setting, tmp_path):
    """Writes what the supervisor of a model server says of it."""
    setting(home=tmp_path)
    host = Home(tmp_path / "workers" / "generate-cpu0")

    def say(state, updated):
        status = ServerStatus(
            name="generate-cpu0", stage="generate", model="m", implementation="m:I", state=state,
            updated=updated,
        )  # fmt: skip
        status.write(status_file(host.path, "generate-cpu0"))

    return say


def test_an_api_server_without_its_database_does_not_work(api_server):
    api_server["metadatabase"] = {"status": "unhealthy"}
    assert not probe.works("api-server")
    api_server["metadatabase"] = {"status": "healthy"}
    assert probe.works("api-server")


def test_a_part_works_while_its_heart_beats(api_server):
    beat = {"latest_dag_processor_heartbeat": "2026-01-01T00:00:00+00:00"}
    api_server["dag_processor"] = {"status": "unhealthy", **beat}
    assert not probe.works("dag-processor")
    api_server["dag_processor"] = {"status": "healthy", **beat}
    assert probe.works("dag-processor")


def test_a_part_that_has_never_beaten_does_not_work(api_server):
    api_server["triggerer"] = {"status": None, "latest_triggerer_heartbeat": None}
    assert not probe.works("triggerer")


def test_without_an_api_server_nothing_of_airflow_counts_as_working(setting):
    setting(api_url=f"http://127.0.0.1:{free_port()}")
    assert not probe.works("api-server")
    assert not probe.works("scheduler")


def test_capacity_works_while_it_goes_its_rounds(setting, tmp_path):
    setting(home=tmp_path)
    assert not probe.works("capacity")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "capacity").touch()
    assert probe.works("capacity")


def test_a_host_without_a_server_does_not_work(setting, tmp_path):
    setting(home=tmp_path)
    assert not probe.works("host")


@pytest.mark.parametrize(("state", "age_s"), [(State.LOADING, 0), (State.WAITING, 0), (State.READY, 3600)])
def test_a_host_whose_server_answers_no_canary_does_not_work(server, state, age_s):
    server(state, time.time() - age_s)
    assert not probe.works("host")


def test_a_host_whose_worker_the_broker_can_t_reach_does_not_work(server, setting):
    server(State.READY, time.time())
    setting(broker_url=f"redis://127.0.0.1:{free_port()}/0")
    assert not probe.works("host")
