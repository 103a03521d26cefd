"""Settings of the unit tests."""

import hypothesis
import pytest

from darkroom.settings import settings

# No deadline for one example: on shared cores it says more of the neighbours than of the code.
hypothesis.settings.register_profile("darkroom", deadline=None)
hypothesis.settings.load_profile("darkroom")


@pytest.fixture
def setting(monkeypatch):
    """Changes settings by their environment variables: `setting(home=tmp_path)`."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"DARKROOM_{name.upper()}", str(value))
        settings.cache_clear()

    yield change
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def airflow():
    """Darkroom's routes under Airflow's own logins and tables."""
    from tests.unit.airflow_app import app

    with app() as found:
        yield found


@pytest.fixture(scope="module")
def address(airflow):
    """The address of those routes."""
    from tests.loopback import served

    with served(airflow) as url:
        yield url


@pytest.fixture(scope="module")
def users(airflow):
    """A client of those routes for each role."""
    from fastapi.testclient import TestClient
    from tests.unit.airflow_app import token

    def client(role):
        login = {"Authorization": f"Bearer {token(role)}"}
        return TestClient(airflow, headers=login, follow_redirects=False)

    nobody = TestClient(airflow, follow_redirects=False)
    return {"nobody": nobody, "without rights": client(None), "viewer": client("VIEWER")}


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    from tests.servers import valkey_server  # not where only model servers are tested

    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def url(valkey):
    """The URL of a real Valkey, empty."""
    import redis

    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    return valkey


@pytest.fixture
def server():
    """A model server that misbehaves as it is told, item by item; see `chunks`."""
    from tests.unit.chunks import misbehaving_server

    with misbehaving_server() as server:
        yield server


@pytest.fixture
def lane(server):
    """A lane that feeds the misbehaving server, and tells nobody."""
    from darkroom.chunks.chunk import Lane
    from darkroom.live.progress import Progress
    from darkroom.serving.client import StageClient

    with StageClient(server.address, deadline_s=5) as client:
        yield Lane(client, host="here", progress=Progress(""), input_roots=(), grace_s=0.5)
