"""One process of a model server, with all its children: started, looked at, drained, killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from darkroom.serving.status import LoadReport
from darkroom.settings import settings

_MB = 1 << 20
SECRETS = (
    "DARKROOM_REDIS_URL", "DARKROOM_BROKER_URL", "DARKROOM_RESULT_URL", "DARKROOM_API_PASSWORD", "AIRFLOW__",
)  # fmt: skip
"""A stage may be anybody's code: what only the plant's own processes need is not passed on."""


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a model's process inherits. It runs as the same user: this keeps honest code from leaking."""
    return {name: value for name, value in environment.items() if not name.startswith(SECRETS)}


class ServerProcess:
    """`python -m darkroom.serving.server` in a process group of its own."""

    def __init__(self, command: list[str], report: Path, environment: Mapping[str, str]) -> None:
        """Start it; what comes of loading will be in the file `report`."""
        report.unlink(missing_ok=True)
        self._report = report
        python = settings().server_python or sys.executable
        self._popen = subprocess.Popen(  # noqa: S603
            [python, "-m", "darkroom.serving.server", *command],
            env={**without_secrets(os.environ), **environment},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of its main process, and the number of its group."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def load_report(self) -> LoadReport | None:
        """What came of loading; None while it loads."""
        return LoadReport.read(self._report)

    def pids(self) -> list[int]:
        """All its processes."""
        try:
            main = psutil.Process(self.pid)
            return [self.pid, *(child.pid for child in main.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def ram_mb(self) -> int:
        """Resident memory of all its processes together."""
        total = 0
        for pid in self.pids():
            with suppress(psutil.Error):
                total += psutil.Process(pid).memory_info().rss
        return total // _MB

    def drain(self) -> None:
        """Ask it to end: what comes new is refused (503), what is in flight ends first."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group at once, and wait for it; also when the main process has ended already."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
