"""One machine's containers: a folder with compose files and an `.env`."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dotenv import dotenv_values
from tests.containers.engine import REPOSITORY, prove, run, say, succeeds, until
from tests.containers.images import POSTGRES, S3, VALKEY

COMPOSE = [str(REPOSITORY / ".venv/bin/uv"), "tool", "run", "--quiet", "podman-compose==1.6.0"]
ENGINES = ("postgres", "valkey")
CONTROL = ("api-server", "scheduler", "dag-processor", "triggerer", "light", "capacity")
HOSTS = ("generate-cpu", "enhance-cpu", "inspect-cpu")
PORT = 18080
"""Of the UI; not the usual one, as a plant may run here."""
_GIVEN = {
    "POSTGRES_IMAGE": POSTGRES, "VALKEY_IMAGE": VALKEY, "S3_IMAGE": S3, "UI_PORT": str(PORT),
    "UI_URL": f"http://127.0.0.1:{PORT}",
}  # fmt: skip
_UP_S, _RESTART_S, _DRAIN_S = 600, 300, 180
_SHIM = Path(__file__).parent / "shim"


class Group:
    """podman-compose in a folder."""

    def __init__(self, folder: Path, project: str = "darkroom") -> None:
        self.folder, self.project = folder, project

    @property
    def environment(self) -> dict[str, str]:
        return {key: value or "" for key, value in dotenv_values(self.folder / ".env").items()}

    def compose(self, *arguments: str, check: bool = True, files: Sequence[str] = ()) -> str:
        command = self._command(files or self._files(), *arguments)
        return run(command, check=check, cwd=self.folder, env=self._clean() | _GIVEN)

    def become(self, *arguments: str) -> None:
        """Let it take this process's place, with its input and output."""
        command = self._command(self._files(), *arguments)
        os.execvpe(command[0], command, self._clean() | _GIVEN)

    def _files(self) -> Sequence[str]:
        return self.environment.get("COMPOSE_FILE", "docker-compose.yaml").split(":")

    def _command(self, files: Sequence[str], *arguments: str) -> list[str]:
        named = [option for name in files for option in ("-f", name)]
        return [*COMPOSE, "-p", self.project, *named, *arguments]

    def follow(self, commands: str) -> None:
        """Do as the docs say, `docker` being podman."""
        say("\n  ".join(["the docs:", *commands.strip().splitlines()]))
        path = os.pathsep.join([str(_SHIM), str(Path(sys.executable).parent), os.environ["PATH"]])
        told = {"PATH": path, "PROJECT": self.project, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'include'}"}
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(shell, cwd=self.folder, env=self._clean() | told, check=False)
        if done.returncode != 0:
            raise SystemExit(f"the docs' commands ended with {done.returncode}")

    def _clean(self) -> dict[str, str]:
        theirs = ("AWS_", "DARKROOM_", "COMPOSE_")
        return {key: value for key, value in os.environ.items() if not key.startswith(theirs)}

    def say_in_env(self, *lines: str) -> None:
        with (self.folder / ".env").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def up(self, *services: str) -> None:
        self.compose("up", "-d", "--no-build", "--no-deps", *services)

    def bring_up(self) -> None:
        """All of them step by step: podman 4.3 does not wait for the health of what a service depends on."""
        profiles = self.environment.get("COMPOSE_PROFILES", "").split(",")
        first = (*ENGINES, *(["s3"] if "s3" in profiles else []))
        then = (*CONTROL, *(HOSTS if "cpu" in profiles else []))
        self.up(*first)
        self.wait_healthy(*first)
        self.up("init")
        until(
            "init has ended well",
            lambda: self.inspect("init", "{{.State.Status}} {{.State.ExitCode}}") == ["exited", "0"],
            _UP_S,
            lambda: self.end_of_log("init"),
        )
        self.up(*then)
        self.wait_healthy(*then)

    def stop(self, file: str) -> None:
        """The containers of one file."""
        self.compose("stop", "-t", str(_DRAIN_S), files=[file])

    def down(self, *, volumes: bool = False) -> None:
        self.compose("down", "-t", str(_DRAIN_S), *(["-v"] if volumes else []), check=False)

    def container(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def exec(self, service: str, *command: str) -> str:
        return run(["podman", "exec", self.container(service), *command])

    def inspect(self, service: str, what: str) -> list[str]:
        return run(["podman", "inspect", self.container(service), "--format", what]).split()

    def started(self, service: str) -> datetime:
        """Since when its container runs."""
        epoch = self.inspect(service, "{{.State.StartedAt.Unix}}")[0]
        return datetime.fromtimestamp(int(epoch), tz=UTC)

    def wait_healthy(self, *services: str) -> None:
        """podman starts health checks by systemd's timers; there may be no systemd, so they are run here."""
        for service in services:
            name = self.container(service)
            until(
                f"{name} is healthy",
                lambda name=name: succeeds("podman", "healthcheck", "run", name),
                _UP_S,
                lambda service=service: self.end_of_log(service),
            )
            say(f"{name} is healthy")

    def end_of_log(self, service: str) -> str:
        return run(["podman", "logs", "--tail=40", self.container(service)], check=False)

    def crash(self, *services: str) -> None:
        """Kill their first processes, as the kernel would, and wait until the policy has restarted them."""
        before = {service: self.inspect(service, "{{.State.Pid}} {{.RestartCount}}") for service in services}
        for pid, _ in before.values():
            os.kill(int(pid), 9)
        for service, (_, count) in before.items():
            until(
                f"{service} is restarted",
                lambda service=service, count=count: self._restarted(service, int(count)),
                _RESTART_S,
                lambda service=service: self.end_of_log(service),
            )
        prove(f"{', '.join(services)}, killed together, are restarted by policy")

    def _restarted(self, service: str, before: int) -> bool:
        running, count = self.inspect(service, "{{.State.Running}} {{.RestartCount}}")
        return running == "true" and int(count) > before
