"""Prove the containers where there is neither Docker nor a registry: `make prove-containers`, as root.

Builds the image and runs the compose files with podman, runc and podman-compose. Stand-ins take the place of
the base images: Debian by debootstrap, PostgreSQL and Valkey from the wheels, moto for the S3 server. So what
is not proven here: the official images themselves, Docker, and the reservation of GPUs.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.containers.engine import CONFIGURATION, REPOSITORY, prove, proven, run, succeeds, until
from tests.containers.group import Group, forget
from tests.containers.images import PLANT, build_plant, build_standins

from darkroom.api import AirflowApi
from darkroom.errors import DarkroomError

ENGINES = ("postgres", "valkey")
CONTROL = ("api-server", "scheduler", "dag-processor", "triggerer", "light", "capacity")
HOSTS = ("generate-cpu", "enhance-cpu", "inspect-cpu")
LAN = "10.99.0.1"
"""An address of this machine that no other can reach: where further hosts find the plant."""
PORT = 18080
"""Not the usual one: a plant may run here."""
URL = f"http://127.0.0.1:{PORT}"
SOURCES = {"A_C": "examples/prompts.jsonl", "B_C": "examples/photos"}
NOT_FOR_HOSTS = {
    "POSTGRES_PASSWORD", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET", "ADMIN_PASSWORD", "PLANT_PASSWORD", "METRICS_TOKEN",
}  # fmt: skip
GIT_BUNDLE = "airflow.providers.git.bundles.git.GitDagBundle"
PARSE_BUNDLE = """
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag
bundle = DagBundlesManager().get_bundle("darkroom")
bundle.initialize()
found = DagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name="darkroom")
version = bundle.get_current_version()
print(getattr(version, "version", version), *sorted(found.dags))
"""
_BATCH_S = 300


def one_machine(folder: Path) -> None:
    plant = Group(folder, "darkroom", "docker-compose.yaml")
    forget([folder])
    refused = plant.compose("config", check=False)
    assert "there is no .env yet; darkroom env writes it" in refused, refused
    prove("without .env, `config` fails and says what to do")
    write_env(folder, "--path=/out/.env")
    use_port(plant)
    assert not succeeds(*env_command(folder), "--path=/out/.env")
    prove("`darkroom env`, in the image, writes .env and does not overwrite it")
    try:
        api = bring_up(plant, *HOSTS)
        prove("the whole stack comes up, and every health check passes")
        ports = [line for line in run(["podman", "ps", "--format", "{{.Ports}}"]).splitlines() if line]
        assert ports == [f"127.0.0.1:{PORT}->8080/tcp"], ports
        prove("one port is published, the UI's, on loopback")
        check_login(plant)
        check_secrets(plant)
        batch(plant, api, "first-a", "A_C")
        batch(plant, api, "first-b", "B_C")
        check_log(api)
        dags_from_git(plant)
        crashes(plant, api)
        plant.down()
        api = bring_up(plant, *HOSTS)
        assert api.run_state("image_flow", "first-a") == "success"
        prove(f"after `down` and `up` runs and pictures are there: {verify(plant, 'first-a')}")
        batch(plant, api, "second", "A_C")
        back_up_and_restore(plant, folder)
    finally:
        plant.down(volumes=True)


def two_hosts(folder: Path) -> None:
    plant = Group(folder / "plant", "darkroom", "docker-compose.yaml", "docker-compose.fleet.yaml")
    one, two = (Group(folder / name, name, "docker-compose.workers.yaml") for name in ("one", "two"))
    forget([plant.folder, one.folder, two.folder])
    write_env(folder, "--s3", "--path=/out/plant/.env")
    append(plant, f"PLANT_ADDRESS={LAN}")
    use_port(plant)
    for host in (one, two):
        write_env(folder, f"--for-host={LAN}", "--plant=/out/plant/.env", f"--path=/out/{host.project}/.env")
        append(host, "COMPOSE_PROFILES=cpu", f"HOST_NAME={host.project}")
        assert not NOT_FOR_HOSTS & set(host.environment)
    run(["ip", "address", "add", f"{LAN}/32", "dev", "lo"])
    try:
        plant.up("s3")
        plant.wait_healthy("s3")
        api = bring_up(plant)
        one.up("generate-cpu")
        two.up("enhance-cpu", "inspect-cpu")
        one.wait_healthy("generate-cpu")
        two.wait_healthy("enhance-cpu", "inspect-cpu")
        prove("two hosts, each a project with a network of its own, join by broker, API and S3 store alone")
        batch(plant, api, "hosts-a", "A_C")
        batch(plant, api, "hosts-b", "B_C")
    finally:
        for group in (one, two, plant):
            group.down(volumes=True)
        run(["ip", "address", "delete", f"{LAN}/32", "dev", "lo"], check=False)


def env_command(folder: Path) -> list[str]:
    mine = ["--user=0", "--hostname=machine", f"-v{folder}:/out"]
    return ["podman", "run", "--rm", *mine, PLANT, "darkroom", "env"]


def write_env(folder: Path, *options: str) -> None:
    run([*env_command(folder), *options])


def use_port(plant: Group) -> None:
    append(plant, f"UI_PORT={PORT}")


def append(group: Group, *lines: str) -> None:
    with (group.folder / ".env").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def bring_up(plant: Group, *hosts: str) -> AirflowApi:
    """Step by step, as podman 4.3 does not wait for the health of what a service depends on."""
    plant.up(*ENGINES)
    plant.wait_healthy(*ENGINES)
    plant.up("init")
    plant.wait_initialised()
    plant.up(*CONTROL, *hosts)
    plant.wait_healthy(*CONTROL, *hosts)
    api = AirflowApi(URL, "admin", plant.environment["ADMIN_PASSWORD"])
    until("image_flow is parsed", lambda: is_parsed(api), 120)
    return api


def is_parsed(api: AirflowApi) -> bool:
    try:
        return bool(api.call("GET", "/api/v2/dags/image_flow")["dag_id"])
    except DarkroomError:
        return False


def batch(plant: Group, api: AirflowApi, run_id: str, flow: str) -> None:
    api.trigger("image_flow", run_id, {"flow": flow, "source": SOURCES[flow], "batch_id": run_id})
    state = api.wait("image_flow", run_id, _BATCH_S)
    assert state == "success", f"{run_id} ended as {state}: {api.failure('image_flow', run_id)}"
    prove(f"a batch of {flow} by REST: {verify(plant, run_id)}")


def verify(plant: Group, batch_id: str) -> str:
    return plant.exec("capacity", "darkroom", "verify", batch_id).splitlines()[-1]


def check_login(plant: Group) -> None:
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


def check_secrets(plant: Group) -> None:
    for service in ("light", *HOSTS):
        told = plant.exec(service, "env")
        seen = [name for name in NOT_FOR_HOSTS if plant.environment[name] in told]
        assert not seen, (service, seen)
    prove("workers hold the broker's password, but neither the database's nor a signing key nor an account")


def check_log(api: AirflowApi) -> None:
    path = "/api/v2/dags/image_flow/dagRuns/first-a/taskInstances/plan/logs/1"
    lines = api.call("GET", path, headers={"Accept": "application/json"})["content"]
    assert len(lines) > 3, lines
    assert "Could not read" not in str(lines), lines
    prove("the API shows the log of a task that ran in another container")


def dags_from_git(plant: Group) -> None:
    """As a bundle of a repository that is a folder here; the same DAGs as those in the image."""
    repository = plant.folder / "inputs" / "darkroom.git"
    shutil.rmtree(repository, ignore_errors=True)
    run(["git", "clone", "--quiet", "--bare", str(REPOSITORY), str(repository)])
    run(["chown", "-R", "50000", str(repository)])
    branch = run(["git", "-C", str(REPOSITORY), "rev-parse", "--abbrev-ref", "HEAD"])
    kwargs = {"repo_url": "/opt/darkroom/inputs/darkroom.git", "tracking_ref": branch, "subdir": "dags"}
    bundle = {"name": "darkroom", "classpath": GIT_BUNDLE, "kwargs": kwargs}
    variable = f"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST={json.dumps([bundle])}"
    told = run(
        ["podman", "exec", "-e", variable, plant.container("dag-processor"), "python", "-c", PARSE_BUNDLE]
    )
    version, *dags = told.splitlines()[-1].split()
    assert "image_flow" in dags, told
    prove(f"GitDagBundle takes the DAGs from a repository, at {version[:8]}: {', '.join(dags)}")


def crashes(plant: Group, api: AirflowApi) -> None:
    before = {name: plant.crash(name) for name in ("postgres", "scheduler", "generate-cpu", "valkey")}
    for service, count in before.items():
        plant.wait_restarted(service, count)
    plant.wait_healthy(*ENGINES, *CONTROL, *HOSTS)
    prove(f"{', '.join(before)}, killed together, are restarted by policy, and all is healthy again")
    batch(plant, api, "after-crashes", "A_C")


def back_up_and_restore(plant: Group, folder: Path) -> None:
    dump, pictures = folder / "airflow.dump", folder / "store.tar"
    inside = ["podman", "exec", "-i", plant.container("postgres")]
    with dump.open("wb") as file:
        subprocess.run([*inside, "pg_dump", "-U", "airflow", "-Fc", "airflow"], stdout=file, check=True)
    store = ["podman", "run", "--rm", "-i", "-v", "darkroom_store:/store", PLANT, "tar", "-C", "/store"]
    with pictures.open("wb") as file:
        subprocess.run([*store, "-cf", "-", "."], stdout=file, check=True)
    plant.down(volumes=True)
    plant.up(*ENGINES)
    plant.wait_healthy(*ENGINES)
    with dump.open("rb") as file:
        subprocess.run([*inside, "pg_restore", "-U", "airflow", "-d", "airflow"], stdin=file, check=True)
    plant.up("init")
    plant.wait_initialised()
    with pictures.open("rb") as file:
        subprocess.run([*store, "-xf", "-"], stdin=file, check=True)
    api = bring_up(plant, *HOSTS)
    assert api.run_state("image_flow", "first-b") == "success"
    prove(f"dump and store, put into fresh volumes, are the plant again: {verify(plant, 'first-b')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/darkroom-containers"))
    parser.add_argument("what", nargs="*", default=["images", "one", "two"], help="images, one, two")
    chosen = parser.parse_args()
    folder = chosen.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(CONFIGURATION)
    os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
    if "images" in chosen.what:
        (folder / "images").mkdir(exist_ok=True)
        build_standins(folder / "images")
        build_plant()
    if "one" in chosen.what:
        one_machine(folder / "machine")
    if "two" in chosen.what:
        two_hosts(folder / "hosts")
    print("\nProven:", *proven, sep="\n* ")


if __name__ == "__main__":
    main()
