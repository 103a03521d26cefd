"""What is asked of a plant in containers, over its API."""

import contextlib
import secrets
from typing import Any
from urllib.request import Request, urlopen

from tests.containers.engine import prove, run, until
from tests.containers.group import CONTROL, ENGINES, HOSTS, PORT, Group

from darkroom.errors import DarkroomError
from darkroom.rest.api import AirflowApi

URL = f"http://127.0.0.1:{PORT}"
SOURCES = {"A_C": "examples/prompts.jsonl", "B_C": "examples/photos"}
NOT_FOR_HOSTS = {
    "POSTGRES_PASSWORD", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET", "ADMIN_PASSWORD", "PLANT_PASSWORD", "METRICS_TOKEN",
}  # fmt: skip
_BATCH_S = 600


class Plant(Group):
    """The containers of a plant's own machine."""

    @property
    def api(self) -> AirflowApi:
        return AirflowApi(URL, "admin", self.environment["ADMIN_PASSWORD"])

    def answers(self) -> bool:
        return (self.folder / ".env").exists() and self.dag("image_flow") is not None

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        with contextlib.suppress(DarkroomError):
            return dict(self.api.call("GET", f"/api/v2/dags/{dag_id}"))
        return None

    def wait_healthy_all(self) -> None:
        self.wait_healthy(*ENGINES, *CONTROL, *HOSTS)

    def wait_for_dags(self) -> None:
        until("image_flow is parsed", self.answers, 180)

    def start(self, run_id: str, flow: str, source: str = "") -> None:
        conf = {"flow": flow, "source": source or SOURCES[flow], "batch_id": run_id}
        self.api.trigger("image_flow", run_id, conf)

    def finish(self, run_id: str) -> str:
        """The last line of `darkroom verify`, when the run has succeeded."""
        state = self.api.wait("image_flow", run_id, _BATCH_S)
        assert state == "success", f"{run_id} ended as {state}: {self.api.failure('image_flow', run_id)}"
        return self.verify(run_id)

    def batch(self, flow: str) -> str:
        """A new one; its run id."""
        run_id = f"{flow.lower()}-{secrets.token_hex(3)}"
        self.start(run_id, flow)
        prove(f"a batch of {flow} by REST: {self.finish(run_id)}")
        return run_id

    def verify(self, batch_id: str) -> str:
        return self.exec("capacity", "darkroom", "verify", batch_id).splitlines()[-1]

    def still_has(self, run_id: str) -> str:
        """What `verify` says of a batch whose run is still known."""
        assert self.api.run_state("image_flow", run_id) == "success"
        return self.verify(run_id)


def check_ports() -> None:
    ports = [line for line in run(["podman", "ps", "--format", "{{.Ports}}"]).splitlines() if line]
    assert ports == [f"127.0.0.1:{PORT}->8080/tcp"], ports
    prove("one port is published, the UI's, on loopback")


def check_bounds(plant: Plant) -> None:
    users = {}
    for service in (*ENGINES, *CONTROL, *HOSTS):
        memory, policy = plant.inspect(service, "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}")
        assert int(memory) > 0, service
        assert policy == "unless-stopped", (service, policy)
        users[service] = plant.exec(service, "id", "-un")
    assert set(users.values()) == {"postgres", "valkey", "airflow"}, users
    prove("no container runs as root, each has a limit to its memory and a policy to restart it")


def check_login(plant: Plant) -> None:
    for user, password in (("admin", "admin"), ("airflow", "airflow"), ("plant", "plant")):
        with contextlib.suppress(DarkroomError):
            AirflowApi(URL, user, password).pools()
            raise SystemExit(f"{user} logs in with {password}")
    own = AirflowApi(URL, "plant", plant.environment["PLANT_PASSWORD"])
    assert own.pools()
    with contextlib.suppress(DarkroomError):
        own.call("GET", "/auth/fab/v1/users")
        raise SystemExit("the plant's own account sees the users")
    prove("FAB: `admin` gets in by the generated password alone; the plant's own account sees no users")


def check_secrets(plant: Plant) -> None:
    for service in ("light", *HOSTS):
        told = plant.exec(service, "env")
        seen = [name for name in NOT_FOR_HOSTS if plant.environment[name] in told]
        assert not seen, (service, seen)
    prove("workers hold the broker's password, but neither the database's nor a signing key nor an account")


def check_metrics(plant: Plant) -> None:
    told = Request(
        f"{URL}/darkroom/metrics", headers={"Authorization": f"Bearer {plant.environment['METRICS_TOKEN']}"}
    )
    with urlopen(told, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    servers = [line for line in lines if line.startswith("darkroom_servers{")]
    assert servers, lines
    with contextlib.suppress(OSError):
        urlopen(f"{URL}/darkroom/metrics", timeout=60)
        raise SystemExit("the metrics are open to everybody")
    prove(f"/darkroom/metrics answers who shows METRICS_TOKEN, with {len(lines)} lines, and nobody else")


def check_log(plant: Plant, run_id: str) -> None:
    path = f"/api/v2/dags/image_flow/dagRuns/{run_id}/taskInstances/plan/logs/1"
    lines = plant.api.call("GET", path, headers={"Accept": "application/json"})["content"]
    assert len(lines) > 3, lines
    assert "Could not read" not in str(lines), lines
    prove("the API shows the log of a task that ran in another container")
