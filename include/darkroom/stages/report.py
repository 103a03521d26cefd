"""What is found out about a stage: told by the process that runs it, a line of JSON each."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from darkroom.flows import Stage

SERVER_MB = 110
"""RAM of a model server beside the process that holds the model: 87 MB of its main process, 12 of
multiprocessing's resource tracker, 5 of the HTTP front (mosec 0.9.8, Python 3.11)."""
HEADROOM = 1.25
"""What is recommended over the measured peak: a server that outgrows `memory_mb` is replaced."""
_STEP_MB = 50
GOOD_ENOUGH = 0.95
"""Of the best throughput: a smaller batch that reaches it wastes less when a server dies."""


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Doing(_Told):
    """A sign of life: a step has begun, or goes on."""

    what: str
    """Such as `load()`."""
    limit: Literal["load_s", "deadline_s"]
    """The field of the row that says how long it may take."""
    share: float
    """Of the whole check, 0 to 1."""


class Loaded(_Told):
    """A stage with its weights in memory."""

    implementation: str
    model: str
    device: str | None
    """As its class says, when it has the attribute."""
    seconds: float
    """Its module, its weights and a first sample."""
    ram_before_mb: int
    ram_mb: int
    gpu_mb: int | None


class Finding(_Told):
    """One line of the contract."""

    state: Literal["ok", "warning", "failed"]
    what: str
    todo: str = ""
    traceback: str = ""


class Speed(_Told):
    """What one batch size came to."""

    batch_size: int
    p50_s: float = 0
    """Of one batch."""
    p95_s: float = 0
    items_per_s: float = 0
    ram_mb: int = 0
    """The highest while it was measured, its child processes with it."""
    gpu_mb: int | None = None
    error: str = ""
    """Why there are no figures."""

    @property
    def memory_mb(self) -> int:
        """What counts against the row's `memory_mb`: of the GPU's memory where it uses one, else RAM."""
        return self.ram_mb + SERVER_MB if self.gpu_mb is None else self.gpu_mb

    def fits(self, stage: Stage) -> bool:
        """Whether a batch this large keeps within the limits of the stage's row."""
        return not self.error and self.in_time(stage) and self.memory_mb <= stage.memory_mb

    def in_time(self, stage: Stage) -> bool:
        """Whether a request is answered within the deadline also behind all that may stand before it."""
        return self.p95_s * stage.batches_in_flight <= stage.deadline_s


class Line(_Told):
    """One thing told; exactly one field is set."""

    doing: Doing | None = None
    loaded: Loaded | None = None
    finding: Finding | None = None
    speed: Speed | None = None
    end: bool = False


class Recommended(_Told):
    """Fields of the row, as measured."""

    batch_size: int
    seconds_per_item: float
    memory_mb: int

    @classmethod
    def of(cls, speeds: Sequence[Speed], stage: Stage) -> Self | None:
        """The smallest batch within 5 % of the best throughput of those that keep within the row's limits.

        When none does, because `memory_mb` is too low, of those that keep the deadline.
        """
        measured = [speed for speed in speeds if not speed.error and speed.in_time(stage)]
        candidates = [speed for speed in measured if speed.fits(stage)] or measured
        if not candidates:
            return None
        best = max(speed.items_per_s for speed in candidates)
        chosen = min(
            (speed for speed in candidates if speed.items_per_s >= best * GOOD_ENOUGH),
            key=lambda speed: speed.batch_size,
        )
        return cls(
            batch_size=chosen.batch_size,
            seconds_per_item=float(f"{1 / chosen.items_per_s:.2g}"),
            memory_mb=-(-int(chosen.memory_mb * HEADROOM) // _STEP_MB) * _STEP_MB,
        )


class Report(_Told):
    """All that was found out about a stage."""

    stage: str
    loaded: Loaded | None = None
    findings: list[Finding] = []
    speeds: list[Speed] = []
    recommended: Recommended | None = None

    @property
    def ok(self) -> bool:
        """Whether the stage can be trusted with batches; warnings don't count."""
        return not any(finding.state == "failed" for finding in self.findings)
