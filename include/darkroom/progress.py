"""Live progress of batches, in Redis: what a person watches, never what is true.

Each chunk sets its own counts, so telling twice counts once. Losing Redis loses the bar, not the work.
Key `darkroom:progress:{batch_id}`, a hash: field `{stage}/{chunk_id}` = JSON of the chunk's `Counts`,
field `plan` = JSON of the planned items and rejected lines.
"""

import logging
from dataclasses import asdict, dataclass
from json import dumps, loads
from typing import Any

import redis

log = logging.getLogger(__name__)
KEEP_S = 30 * 24 * 3600


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
class Snapshot:
    """One look at a batch."""

    items: int | None
    """Planned items; None before the plan is committed."""
    rejects: int
    """Lines of the source that were not items."""
    stages: dict[str, Counts]
    """First round only, so that a respin does not move the bar beyond its end."""
    respins: dict[str, Counts]
    """The rounds after the first."""


class Progress:
    """Counters of batches; an empty URL keeps none. A Redis that is down never fails a chunk."""

    def __init__(self, url: str) -> None:
        self._redis: Any = redis.Redis.from_url(url, decode_responses=True, socket_timeout=2) if url else None

    def plan(self, batch_id: str, items: int, rejects: int) -> None:
        """Say how large the batch is."""
        self._set(batch_id, "plan", {"items": items, "rejects": rejects})

    def report(self, batch_id: str, stage: str, chunk_id: str, counts: Counts) -> None:
        """Say how far a chunk is."""
        self._set(batch_id, f"{stage}/{chunk_id}", asdict(counts))

    def read(self, batch_id: str) -> Snapshot:
        """All that is known of a batch; zeros where nothing is."""
        fields: dict[str, str] = {}
        if self._redis is not None:
            try:
                fields = self._redis.hgetall(_key(batch_id))
            except redis.RedisError as error:
                log.warning("no live progress: %s", error)
        plan = loads(fields.pop("plan", "{}"))
        first: dict[str, Counts] = {}
        later: dict[str, Counts] = {}
        for name, value in fields.items():
            stage, _, chunk_id = name.partition("/")
            into = later if chunk_id.startswith("r") else first
            into[stage] = into.get(stage, Counts()) + Counts(**loads(value))
        return Snapshot(plan.get("items"), plan.get("rejects", 0), first, later)

    def _set(self, batch_id: str, field: str, value: dict[str, Any]) -> None:
        if self._redis is None:
            return
        try:
            pipe = self._redis.pipeline()
            pipe.hset(_key(batch_id), field, dumps(value))
            pipe.expire(_key(batch_id), KEEP_S)
            pipe.execute()
        except redis.RedisError as error:
            log.warning("progress of %s not told: %s", batch_id, error)


def _key(batch_id: str) -> str:
    return f"darkroom:progress:{batch_id}"
