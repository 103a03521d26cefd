"""The steps on one machine. Each brings up what it needs; what is there, it takes."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tests.containers.engine import REPOSITORY, prove, run, succeeds, until
from tests.containers.images import PLANT
from tests.containers.outlets import check_outlets, listening
from tests.containers.plant import (
    SOURCES,
    Plant,
    check_bounds,
    check_log,
    check_login,
    check_metrics,
    check_ports,
    check_secrets,
)
from tests.containers.source import EARLIER, check_out, commands, revision, snapshot

from darkroom.rest.api import RunExists

LAN = "10.99.0.1"
"""An address of this machine that no other can reach: as one of a private network would be."""
GIT_BUNDLE = "airflow.providers.git.bundles.git.GitDagBundle"


class Machine:
    """A clone of the repository, whose compose files run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plant = Plant(folder / "machine")

    def begin(self, commit: str = "HEAD") -> None:
        """A new plant, by the commands of the page."""
        self.end()
        check_out(self.origin(), self.plant.folder, commit)
        self.plant.follow(commands("Start it"))
        self.plant.wait_for_dags()

    def origin(self) -> Path:
        path = self.folder / "origin.git"
        return path if path.exists() else snapshot(self.folder)

    def up(self) -> Plant:
        """The plant, as it is or new."""
        if not self.plant.answers():
            self.begin()
        return self.plant

    def has(self, run_id: str, flow: str) -> str:
        """See to it that there is this run and that it went well; what `darkroom verify` says."""
        with contextlib.suppress(RunExists):
            self.plant.start(run_id, flow)
        return self.plant.finish(run_id)

    def end(self) -> None:
        if (self.plant.folder / ".env").exists():
            self.plant.down(volumes=True)
            (self.plant.folder / ".env").unlink()  # its secrets

    @contextlib.contextmanager
    def told(self, **settings: str) -> Iterator[None]:
        """The plant, taken down and up again with these lines in `.env`."""
        env = self.plant.folder / ".env"
        before = env.read_text()
        try:
            self.plant.follow("docker compose down")
            self.plant.say_in_env(*(f"{name}={value}" for name, value in settings.items()))
            self.plant.follow("docker compose up -d")
            yield
        finally:
            env.write_text(before)


def env(machine: Machine) -> None:
    """Before there is any plant."""
    plant = Plant(machine.folder / "env", "nowhere")
    check_out(machine.origin(), plant.folder)
    refused = plant.compose("config", check=False)
    assert "there is no .env yet; darkroom env writes it" in refused, refused
    prove("without .env, `config` fails and says what to do")
    mine = ["--user=0", "--hostname=machine", f"-v{plant.folder}:/out"]
    command = ["podman", "run", "--rm", *mine, PLANT, "darkroom", "env", "--path=/out/.env"]
    run(command)
    assert not succeeds(*command)
    (plant.folder / ".env").unlink()
    prove("`darkroom env`, in the image, writes .env and does not overwrite it")


def upgrade(machine: Machine) -> None:
    """From an older version, in the middle of a batch."""
    machine.begin(EARLIER)
    plant = machine.plant
    older = revision(plant.folder)
    machine.has("older", "A_C")
    plant.start("across", "A_C", many(plant))
    plant.follow(commands("Upgrade"))
    plant.wait_for_dags()
    newer = revision(plant.folder)
    assert newer != older
    kept = plant.still_has("older")
    prove(f"upgraded from {older[:7]} to {newer[:7]}, runs and pictures are there: {kept}")
    across = plant.finish("across")
    ended = plant.api.call("GET", "/api/v2/dags/image_flow/dagRuns/across")["end_date"]
    assert datetime.fromisoformat(ended) > plant.started("scheduler"), f"it had ended by {ended}"
    prove(f"a batch that was under way goes on to its end: {across}")


def many(plant: Plant) -> str:
    """A source that takes the plant some minutes."""
    items = [json.loads(line) for line in (REPOSITORY / SOURCES["A_C"]).read_text().splitlines()]
    repeated = [{**item, "custom_id": f"{item['custom_id']}-{n}"} for n in range(4) for item in items]
    path = plant.folder / "inputs/many.jsonl"
    path.write_text("".join(f"{json.dumps(item)}\n" for item in repeated))
    return "inputs/many.jsonl"


def start(machine: Machine) -> None:
    plant = machine.up()
    plant.wait_healthy_all()
    prove("the whole stack is up, and every health check passes")
    check_ports()
    check_bounds(plant)
    check_login(plant)
    check_secrets(plant)
    check_metrics(plant)
    for run_id, flow in (("first-a", "A_C"), ("first-b", "B_C")):
        prove(f"a batch of {flow} by REST: {machine.has(run_id, flow)}")
    check_log(plant, "first-a")


def crashes(machine: Machine) -> None:
    plant = machine.up()
    plant.crash("postgres", "valkey", "scheduler", "generate-cpu")
    plant.wait_healthy_all()
    plant.batch("A_C")


def again(machine: Machine) -> None:
    """Down, some settings in `.env`, and up."""
    plant = machine.up()
    machine.has("first-a", "A_C")
    with lan(), listening(LAN) as listener, machine.told(**listener.settings):
        prove(f"after `down` and `up` runs and pictures are there: {plant.still_has('first-a')}")
        check_outlets(plant, listener)


def git(machine: Machine) -> None:
    """DAGs from a repository that is a folder here: those of the image, and one word more."""
    plant = machine.up()
    repository, changed = plant.folder / "inputs/dags.git", machine.folder / "changed"
    check_out(plant.folder, changed)
    dag = changed / "dags/image_flow.py"
    assert 'tags=["darkroom"]' in dag.read_text()
    dag.write_text(dag.read_text().replace('tags=["darkroom"]', 'tags=["darkroom", "git"]'))
    who = ["-c", "user.name=proof", "-c", "user.email=proof@localhost"]
    run(["git", "-C", str(changed), *who, "commit", "--quiet", "-a", "-m", "A tag"])
    shutil.rmtree(repository, ignore_errors=True)
    run(["git", "clone", "--quiet", "--bare", str(changed), str(repository)])
    run(["chown", "-R", "50000", str(repository)])
    branch = run(["git", "-C", str(changed), "rev-parse", "--abbrev-ref", "HEAD"])
    kwargs = {"repo_url": "/opt/darkroom/inputs/dags.git", "tracking_ref": branch, "subdir": "dags"}
    bundles = [{"name": "dags-folder", "classpath": GIT_BUNDLE, "kwargs": kwargs}]
    overrides = json.dumps({"dag_processor.dag_bundle_config_list": bundles})
    with machine.told(DARKROOM_AIRFLOW_OVERRIDES=f"'{overrides}'"):
        until(
            "the DAG comes from git",
            lambda: "git" in tags(plant),
            300,
            lambda: plant.end_of_log("dag-processor"),
        )
        told = plant.api.call("GET", f"/api/v2/dags/image_flow/dagRuns/{plant.batch('A_C')}")
        versions = {version["bundle_version"] for version in told["dag_versions"]}
        assert versions == {revision(changed)}, told
        prove(
            f"with GitDagBundle on every container the batch ran by the DAG of commit {revision(changed)[:7]}"
        )


def tags(plant: Plant) -> list[str]:
    return [tag["name"] for tag in (plant.dag("image_flow") or {"tags": []})["tags"]]


def backup(machine: Machine) -> None:
    plant = machine.up()
    machine.has("first-b", "B_C")
    plant.follow(commands("Back up and restore"))
    plant.down(volumes=True)
    assert not [name for name in volumes() if name.startswith("darkroom_")], volumes()
    plant.follow(commands("Back up and restore", 1))
    plant.wait_for_dags()
    prove(f"dump and store, put into fresh volumes, are the plant again: {plant.still_has('first-b')}")


def volumes() -> list[str]:
    return run(["podman", "volume", "ls", "--format", "{{.Name}}"]).split()


@contextlib.contextmanager
def lan() -> Iterator[None]:
    run(["ip", "address", "replace", f"{LAN}/32", "dev", "lo"])
    try:
        yield
    finally:
        run(["ip", "address", "delete", f"{LAN}/32", "dev", "lo"], check=False)
