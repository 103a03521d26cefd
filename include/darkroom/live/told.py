"""What is told of a round and of a chunk while they are worked on. Pure.

As Redis keeps it: lists, not objects, as a batch may have ten thousands of chunks. Who finds more fields
than it knows leaves the last ones out.
"""

import json
import time
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

ChunkState = Literal["running", "paused", "stopped", "ended"]
"""`paused` and `stopped` chunks are put back and go on later; `ended` has written its part."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Items of one chunk, or of all chunks together, that a stage has finished with."""

    done: int = 0
    """Completed and accepted."""
    rejected: int = 0
    failed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.done + other.done, self.rejected + other.rejected, self.failed + other.failed)

    @property
    def total(self) -> int:
        """All items finished with, whatever the outcome."""
        return self.done + self.rejected + self.failed


@dataclass(frozen=True, slots=True)
class PlanNow:
    """A round of a batch, as it was planned."""

    flow: str
    items: int
    rejects: int = 0
    """Lines of the source that were not items."""
    chunks: int = 0
    shards: int = 0
    round: int = 0
    begun: float = field(default_factory=time.time)
    """Epoch seconds."""


@dataclass(frozen=True, slots=True)
class ChunkNow:
    """One chunk in one stage, as its lane last saw it. The fields' order is that of the stored list."""

    items: int
    done: int
    rejected: int
    failed: int
    host: str
    """The server that works on it, as Celery names its worker: `generate-1@box`."""
    state: ChunkState
    reason: str = ""
    """Why it is paused or stopped."""
    busy_s: float = 0.0
    """What the model computed for it on this host."""
    reused: int = 0
    """Items whose picture existed already; they are among the finished ones."""
    begun: float = field(default_factory=time.time)
    """Epoch seconds."""
    updated: float = field(default_factory=time.time)
    """Epoch seconds."""

    @property
    def counts(self) -> Counts:
        """The items it has finished with."""
        return Counts(self.done, self.rejected, self.failed)

    @property
    def open(self) -> int:
        """Items it has not finished with."""
        return max(0, self.items - self.counts.total)


_STATES = get_args(ChunkState)
_CHUNK_FIELDS = [f.name for f in fields(ChunkNow)]
_PLAN_FIELDS = [f.name for f in fields(PlanNow)]


def packed(told: ChunkNow | PlanNow) -> str:
    """As one JSON list, in the fields' order."""
    names = _CHUNK_FIELDS if isinstance(told, ChunkNow) else _PLAN_FIELDS
    values = [getattr(told, name) for name in names]
    return json.dumps([round(v, 3) if isinstance(v, float) else v for v in values], separators=(",", ":"))


def chunk_of(value: Any) -> ChunkNow | None:
    """A chunk's list; None where it is of another version."""
    known = isinstance(value, list) and len(value) >= len(_CHUNK_FIELDS) and value[5] in _STATES
    return ChunkNow(*value[: len(_CHUNK_FIELDS)]) if known else None


def plan_of(value: list[Any]) -> PlanNow:
    """A round's list."""
    return PlanNow(*value[: len(_PLAN_FIELDS)])
