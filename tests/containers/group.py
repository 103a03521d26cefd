"""One machine's containers: a folder with compose files and an `.env`."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from dotenv import dotenv_values
from tests.containers.engine import REPOSITORY, run, say, succeeds, until
from tests.containers.images import POSTGRES, S3, VALKEY

COMPOSE = [str(REPOSITORY / ".venv/bin/uv"), "tool", "run", "--quiet", "podman-compose==1.6.0"]
_UP_S, _RESTART_S = 600, 300


class Group:
    """podman-compose in a folder."""

    def __init__(self, folder: Path, project: str, *files: str) -> None:
        self.folder, self.project, self.files = folder, project, files
        (folder / "inputs").mkdir(parents=True, exist_ok=True)
        for path in REPOSITORY.glob("docker-compose*.yaml"):
            shutil.copy(path, folder)

    @property
    def environment(self) -> dict[str, str]:
        return {key: value or "" for key, value in dotenv_values(self.folder / ".env").items()}

    def compose(self, *arguments: str, check: bool = True) -> str:
        files = [option for name in self.files for option in ("-f", name)]
        theirs = ("AWS_", "DARKROOM_", "COMPOSE_")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(theirs)}
        images = {"POSTGRES_IMAGE": POSTGRES, "VALKEY_IMAGE": VALKEY, "S3_IMAGE": S3}
        command = [*COMPOSE, "-p", self.project, *files, *arguments]
        return run(command, check=check, cwd=self.folder, env=clean | images)

    def up(self, *services: str) -> None:
        self.compose("up", "-d", "--no-build", "--no-deps", *services)

    def down(self, *, volumes: bool = False) -> None:
        self.compose("down", "-t", "120", *(["-v"] if volumes else []), check=False)

    def container(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def exec(self, service: str, *command: str) -> str:
        return run(["podman", "exec", self.container(service), *command])

    def inspect(self, service: str, what: str) -> list[str]:
        return run(["podman", "inspect", self.container(service), "--format", what]).split()

    def wait_healthy(self, *services: str) -> None:
        """podman starts health checks by systemd's timers; there may be no systemd, so they are run here."""
        for service in services:
            name = self.container(service)
            until(
                f"{name} is healthy",
                lambda name=name: succeeds("podman", "healthcheck", "run", name),  # type: ignore[misc]
                _UP_S,
                lambda service=service: self.end_of_log(service),  # type: ignore[misc]
            )
            say(f"{name} is healthy")

    def wait_initialised(self) -> None:
        until(
            "init has ended well",
            lambda: self.inspect("init", "{{.State.Status}} {{.State.ExitCode}}") == ["exited", "0"],
            _UP_S,
            lambda: self.end_of_log("init"),
        )

    def end_of_log(self, service: str) -> str:
        return run(["podman", "logs", "--tail=40", self.container(service)], check=False)

    def crash(self, service: str) -> int:
        """Kill its first process, as the kernel would; how often it was restarted before."""
        pid, count = self.inspect(service, "{{.State.Pid}} {{.RestartCount}}")
        os.kill(int(pid), 9)
        return int(count)

    def wait_restarted(self, service: str, before: int) -> None:
        def restarted() -> bool:
            running, count = self.inspect(service, "{{.State.Running}} {{.RestartCount}}")
            return running == "true" and int(count) > before

        until(f"{service} is restarted", restarted, _RESTART_S, lambda: self.end_of_log(service))


def forget(folders: Sequence[Path]) -> None:
    """Remove the secrets of an earlier proof."""
    for folder in folders:
        (folder / ".env").unlink(missing_ok=True)
