"""The step with further machines: compose projects with networks of their own, which share an address."""

import shutil
from pathlib import Path

from tests.containers.engine import prove, run
from tests.containers.group import Group
from tests.containers.images import PLANT
from tests.containers.one_machine import LAN, Machine, lan
from tests.containers.plant import NOT_FOR_HOSTS, Plant
from tests.containers.source import check_out


def hosts(machine: Machine) -> None:
    machine.end()
    folder = machine.folder / "hosts"
    plant = Plant(folder / "plant")
    one, two = (Group(folder / name, name) for name in ("one", "two"))
    for group in (one, two, plant):
        if (group.folder / ".env").exists():
            group.down(volumes=True)
    shutil.rmtree(folder, ignore_errors=True)
    check_out(machine.origin(), plant.folder)
    write_env(folder, "--s3", "--path=/out/plant/.env")
    plant.say_in_env(
        "COMPOSE_PROFILES=s3",
        f"PLANT_ADDRESS={LAN}",
        "COMPOSE_FILE=docker-compose.yaml:docker-compose.fleet.yaml",
    )
    for host in (one, two):
        (host.folder / "inputs").mkdir(parents=True)
        shutil.copy(plant.folder / "docker-compose.workers.yaml", host.folder)
        write_env(folder, f"--for-host={LAN}", "--plant=/out/plant/.env", f"--path=/out/{host.project}/.env")
        host.say_in_env("COMPOSE_PROFILES=cpu", f"HOST_NAME={host.project}")
        assert not NOT_FOR_HOSTS & set(host.environment)
    with lan():
        try:
            join(plant, one, two)
        finally:
            for group in (one, two, plant):
                group.down(volumes=True)
                (group.folder / ".env").unlink()


def join(plant: Plant, one: Group, two: Group) -> None:
    plant.follow("docker compose up -d")
    plant.wait_for_dags()
    one.up("generate-cpu")
    two.up("enhance-cpu", "inspect-cpu")
    one.wait_healthy("generate-cpu")
    two.wait_healthy("enhance-cpu", "inspect-cpu")
    prove("two hosts, each a project with a network of its own, join by broker, API and S3 store alone")
    plant.batch("A_C")
    plant.batch("B_C")


def write_env(folder: Path, *options: str) -> None:
    mine = ["--user=0", "--hostname=machine", f"-v{folder}:/out"]
    run(["podman", "run", "--rm", *mine, PLANT, "darkroom", "env", *options])
