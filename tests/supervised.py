"""A real supervisor in a process of its own, with the model server that it keeps."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from darkroom.serving.client import StageClient
from darkroom.serving.status import ServerStatus, State, status_file
from darkroom.settings import REPOSITORY
from tests.servers import free_port

ROW = {
    "summary": "does as told", "implementation": "serving_stages:Puppet", "model": "puppet@1",
    "takes": "prompt", "gives": "image", "memory_mb": 4000, "seconds_per_item": 0.1,
    "batch_size": 4, "deadline_s": 3, "load_s": 20,
}  # fmt: skip


class Supervised:
    """Supervises the stage `puppet`; a context that ends it, and whatever it left."""

    def __init__(self, folder: Path, row: dict, *arguments: str, **variables: str) -> None:
        self.port, self.home, self.mark = free_port(), folder, folder / "mark"
        row = ROW | row
        self.client = StageClient(f"http://127.0.0.1:{self.port}", max(20, row["deadline_s"]))
        self.log = folder / "log"
        command = [sys.executable, "-m", "darkroom.serving.supervisor"]
        environment = {
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "include"), *sys.path]),
            "DARKROOM_CODE": str(REPOSITORY / "tests" / "unit"),
            "DARKROOM_HOME": str(folder),
            "DARKROOM_STAGES": json.dumps({"puppet": row}),
            "DARKROOM_CANARY_EVERY_S": "0.3",
            "PUPPET_MARK": str(self.mark),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--stage=puppet", f"--port={self.port}", *arguments],
                env=os.environ | environment | variables, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        family = self.tree() if self.process.poll() is None else []
        for process in [self.process, *family]:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        self.process.wait(10)
        self.client.close()

    def status(self) -> ServerStatus | None:
        return ServerStatus.read(status_file(self.home, "puppet"))

    def until(self, condition, timeout_s: float = 20) -> ServerStatus:
        deadline = time.monotonic() + timeout_s
        while not ((status := self.status()) and condition(status)):
            assert time.monotonic() < deadline, (status, self.log.read_text()[-2000:])
            time.sleep(0.05)
        return status

    def ready(self, starts: int = 1) -> ServerStatus:
        return self.until(lambda status: status.state is State.READY and status.starts >= starts)

    def until_in_flight(self, prompt: str) -> None:
        """Wait until the model has begun with a batch that holds `prompt`."""
        deadline = time.monotonic() + 20
        while not (self.mark.exists() and prompt in self.mark.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def model_process(self) -> psutil.Process:
        return next(child for child in self.tree() if "spawn_main" in " ".join(child.cmdline()))
