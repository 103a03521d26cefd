import signal
import subprocess
import time

import httpx
import psutil
import pytest

from darkroom.flows import STAGES
from darkroom.stack import health
from darkroom.stack.leftovers import find_leftovers
from tests.stack.handle import COMMAND, new_stack, remove
from tests.stack.plant import until


def test_every_part_works(stack):
    stack.wait_healthy(180)  # from whatever the tests before did to it


def test_status_tells_pid_and_memory_of_each_part(stack):
    for part in stack.status().values():
        assert psutil.pid_exists(part["pid"])
        assert part["memory_bytes"] > 1 << 20


def test_every_stage_has_a_pool_with_a_slot_per_lane(stack):
    with airflow(stack) as api:
        pools = {pool["name"]: pool["slots"] for pool in api.get("/pools").json()["pools"]}
    for stage in STAGES.values():
        assert pools[stage.pool] == stage.lanes


def test_airflow_refuses_who_does_not_know_the_password(stack):
    url = stack.addresses.api_url
    assert httpx.get(f"{url}/api/v2/pools").status_code == httpx.codes.UNAUTHORIZED
    body = {"username": "admin", "password": "admin"}
    assert httpx.post(f"{url}/auth/token", json=body).status_code == httpx.codes.UNAUTHORIZED


def test_everything_listens_on_loopback_only(stack):
    listening = {
        connection.laddr.ip
        for process in find_leftovers(stack.home)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_no_secret_is_on_a_command_line_or_in_a_log(stack):
    secrets = stack.addresses.credentials
    hidden = [getattr(secrets, name) for name in secrets.__dataclass_fields__]
    shown = [" ".join(process.cmdline()) for process in find_leftovers(stack.home)]
    shown += [path.read_text(errors="replace") for path in stack.home.logs.iterdir()]
    assert not [True for text in shown for secret in hidden if secret in text]


def test_up_on_a_running_stack_changes_nothing(stack):
    before = {name: part["pid"] for name, part in stack.status().items()}
    assert stack.darkroom("up", timeout_s=20).returncode == 0
    assert {name: part["pid"] for name, part in stack.status().items()} == before


@pytest.mark.parametrize("part", ["server-generate-1", "worker-default", "valkey"])
def test_a_part_that_is_killed_comes_back(stack, part):
    pid = stack.kill(part)
    stack.wait_healthy(180)
    assert stack.status()[part]["pid"] != pid


def test_all_comes_back_after_postgresql_was_killed(stack):
    # A beat from before would count as healthy for half a minute more.
    pid, killed = stack.kill("postgres"), time.time()
    parts = ("scheduler", "dag_processor", "triggerer")
    until(
        lambda: all(health.airflow_beats(stack.addresses.api_url, part, killed + 1) for part in parts),
        "the hearts beat again",
    )
    stack.wait_healthy(180)
    assert stack.status()["postgres"]["pid"] != pid


def test_up_recovers_from_a_supervisor_that_was_killed(stack):
    before = find_leftovers(stack.home)
    psutil.Process(int(stack.home.supervisor_pid.read_text())).kill()
    up = stack.darkroom("up")
    assert up.returncode == 0, up.stderr
    assert "leftover" in up.stderr
    assert not [process for process in before if process.is_running()]
    assert stack.unhealthy() == []


def test_ctrl_c_while_it_starts_ends_everything_also_when_pressed_again(request):
    stack = new_stack()
    request.addfinalizer(lambda: remove(stack))
    # Who runs in the background of a shell is deaf to Ctrl-C, and so are its children.
    command = ["env", "--default-signal=INT", *COMMAND, "up"]
    with subprocess.Popen(command, env=stack.env, stderr=subprocess.PIPE, text=True) as up:
        assert any("valkey" in line and "healthy" in line for line in up.stderr)
        up.send_signal(signal.SIGINT)
        assert any("stopping" in line for line in up.stderr)
        up.send_signal(signal.SIGINT)
        up.stderr.read()
        assert up.wait(30) == 130
    assert find_leftovers(stack.home) == []


def airflow(stack):
    addresses = stack.addresses
    body = {"username": "admin", "password": addresses.credentials.admin_password}
    token = httpx.post(f"{addresses.api_url}/auth/token", json=body).json()["access_token"]
    return httpx.Client(
        base_url=f"{addresses.api_url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=30
    )
