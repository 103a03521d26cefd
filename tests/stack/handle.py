"""A stack as its user sees it: the command `darkroom`, and what breaks it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from darkroom.settings import REPOSITORY, settings
from darkroom.stack.home import Home
from darkroom.stack.layout import Stack

OVERRIDES = {
    "scheduler.task_instance_heartbeat_timeout": 15,
    "scheduler.task_instance_heartbeat_timeout_detection_interval": 3,
    "scheduler.orphaned_tasks_check_interval": 10,
}
STAGE_ROWS = {"generate": {"deadline_s": 10}}
"""A hung server is found soon; a picture takes an eighth of a second on an idle machine."""

OWN_STAGES = REPOSITORY / "examples" / "custom"
"""The plant has the example of docs/how-to/bring-a-model.md beside the shipped stages."""


@dataclass
class StackUnderTest:
    """What a user does with a stack, and what breaks it."""

    home: Home
    stages: Path = OWN_STAGES
    """The folder of its own stages, with their rows in `darkroom.toml`."""
    rows: dict[str, dict] = field(default_factory=lambda: STAGE_ROWS)
    """What is changed in the stage table."""
    more: dict[str, str] = field(default_factory=dict)
    """Further environment variables."""

    @property
    def variables(self) -> dict[str, str]:
        """What makes a process work with this stack: its folder, short time-outs, a root to write to."""
        roots = [str(REPOSITORY / "examples"), str(self.home.path.parent / "inputs")]
        return {
            "DARKROOM_HOME": str(self.home.path),
            "DARKROOM_SOURCE_ROOTS": json.dumps(roots),
            "DARKROOM_AIRFLOW_OVERRIDES": json.dumps(OVERRIDES),
            "DARKROOM_STAGES": json.dumps(self.rows),
            "DARKROOM_CANARY_EVERY_S": "3",
            **self.more,
        }

    @property
    def env(self) -> dict[str, str]:
        """The environment of the command `darkroom`; this process's own stages were fixed at its import."""
        own = {"DARKROOM_CONFIG": str(self.stages / "darkroom.toml"), "DARKROOM_CODE": str(self.stages)}
        return os.environ | own | self.variables

    @property
    def addresses(self) -> Stack:
        """Ports, URLs, passwords."""
        return Stack.load(self.home)

    def darkroom(
        self, *arguments: str, timeout_s: float = 300, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command, with further environment variables."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.env | variables,
            text=True,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )

    def status(self) -> dict[str, dict]:
        """Each part's line of `darkroom status`."""
        shown = json.loads(self.darkroom("status", "--json").stdout)
        return {part["name"]: part for part in shown["parts"]}

    def unhealthy(self) -> list[str]:
        """Parts that don't work."""
        return [name for name, part in self.status().items() if part["state"] != "healthy"]

    def wait_healthy(self, timeout_s: float) -> None:
        """Return when every part works."""
        until = time.monotonic() + timeout_s
        while found := self.unhealthy():
            assert time.monotonic() < until, f"still not healthy after {timeout_s} s: {found}"
            time.sleep(0.5)

    def kill(self, part: str) -> int:
        """`kill -9` the main process of a part; its pid."""
        pid = self.status()[part]["pid"]
        psutil.Process(pid).kill()
        return pid


COMMAND = [sys.executable, "-m", "darkroom.cli"]


def new_folder() -> Path:
    """A folder for a stack. Not below pytest's: they are closed to PostgreSQL's user."""
    folder = Path(tempfile.mkdtemp(prefix="darkroom-test-"))
    folder.chmod(0o711)
    return folder


def new_stack() -> StackUnderTest:
    """A stack that was never started."""
    return StackUnderTest(Home(new_folder() / "home"))


@contextmanager
def running(started: StackUnderTest) -> Iterator[StackUnderTest]:
    """The stack at work; this process's settings are its own, so that tests may use Darkroom's functions."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in started.variables.items():
            patch.setenv(name, value)
        settings.cache_clear()
        try:
            up = started.darkroom("up", timeout_s=600)
            assert up.returncode == 0, up.stderr
            yield started
        finally:
            remove(started)
    settings.cache_clear()


def remove(stack: StackUnderTest) -> None:
    """Stop a stack and remove all its traces."""
    stopped = stack.darkroom("down", "--purge")
    shutil.rmtree(stack.home.path.parent, ignore_errors=True)
    assert stopped.returncode == 0, stopped.stderr
