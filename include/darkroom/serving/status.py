"""What is told of a model server: by its worker to the supervisor, by the supervisor to everybody."""

import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class State(StrEnum):
    """What a server is doing."""

    LOADING = "loading"
    READY = "ready"
    """A canary has been answered, and none has missed its deadline since."""
    DRAINING = "draining"
    """No new requests; those in flight end."""
    FENCED = "fenced"
    """It works, but its chunks failed by its host's fault, and it takes none until the fence is lifted."""
    WAITING = "waiting"
    """It ended; another start follows after a back-off. `reason` says why it ended."""
    STOPPED = "stopped"


class Told(BaseModel):
    """A record in a file of its own, read by other processes than the one that writes it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def write(self, path: Path) -> None:
        """Replace the file, whole or not at all."""
        replace_file(path, self.model_dump_json(indent=1))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What the file says; None when there is none that can be read."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            return None


def replace_file(path: Path, text: str) -> None:
    """Write a file that others read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


class LoadReport(Told):
    """What came of loading a stage's weights, from the process that did."""

    seconds: float = 0
    """Weights and the first sample."""
    device: str = ""
    """Where it computes, as the stage says: `cpu`, `cuda:0 NVIDIA H200`."""
    error: str = ""
    traceback: str = ""


class GpuStatus(Told):
    """One look at a GPU."""

    index: int
    uuid: str
    name: str
    temperature_c: int
    memory_used_mb: int
    memory_total_mb: int
    xid_errors: list[int]
    """Xid error numbers since the supervisor started, oldest first, 16 at most.

    Source: https://docs.nvidia.com/deploy/xid-errors/
    """


class ServerStatus(Told):
    """One look at a model server."""

    name: str
    """`generate-1`, `generate-gpu0`."""
    host: str = ""
    """Of which machine; the fleet says it, as it is known there by both."""
    stage: str
    model: str
    implementation: str
    state: State
    since: float = 0
    """Epoch seconds at which it came into that state."""
    reason: str = ""
    """Why it is not ready."""
    last_end: str = ""
    """Why it was last started anew."""
    pid: int | None = None
    url: str = ""
    lanes: int = 0
    worked: bool = False
    """Whether a canary has ever been answered since the supervisor started."""
    starts: int = 0
    """Of its process, since the supervisor started."""
    loaded: LoadReport | None = None
    """None while the weights are not loaded."""
    memory_mb: int = 0
    """On its device."""
    memory_limit_mb: int = 0
    canary_s: float | None = None
    """How long the last canary took."""
    gpu: GpuStatus | None = None
    now_worker: str = ""
    """The Celery worker that takes interactive chunks to it, and to all servers of its machine."""
    schema_version: int = 1
    """Of the records that this host writes."""
    updated: float = 0
    """Epoch seconds."""

    @property
    def worker(self) -> str:
        """The name, all over the fleet, of the server and of the Celery worker whose lanes feed it."""
        return f"{self.name}@{self.host}"

    def why_not_ready(self) -> str:
        """Its state and the reason for it; nothing when it is ready."""
        if self.state is State.READY:
            return ""
        return f"{self.name} is {self.state}" + (f": {self.reason}" if self.reason else "")


def status_file(home: Path, name: str) -> Path:
    """Where the status of a server lies, below the state folder of its host."""
    return home / "run" / "servers" / f"{name}.json"
