"""Live progress of batches, in Redis: what a person watches, never what is true.

Each chunk sets its own counts, so telling twice counts once. Losing Redis loses the bar, not the work.
Key `darkroom:progress:{batch_id}`, a hash: field `plan/{round}` = a `PlanNow`, `{stage}/{chunk_id}` = the
chunk's `ChunkNow`, `end` = how its run ended and when. Key `darkroom:active`: the set of those that have not.
Key `darkroom:ended`: the last that have, by when.
"""

import json
import time
from collections.abc import Sequence

from darkroom.live.connection import InRedis
from darkroom.live.snapshot import HostNow, Snapshot, unpacked
from darkroom.live.told import ChunkNow, ChunkState, Counts, PlanNow, chunk_of, packed

__all__ = ["ChunkNow", "ChunkState", "Counts", "HostNow", "PlanNow", "Progress", "Snapshot"]

KEEP_S = 30 * 24 * 3600
PREFIX = "darkroom:progress:"
ACTIVE, _ENDED = "darkroom:active", "darkroom:ended"
_LATELY = 20
"""Batches that are remembered as having ended."""


class Progress(InRedis):
    """Counters of batches; an empty URL keeps none. A Redis that is down never fails a chunk."""

    def plan(self, batch_id: str, plan: PlanNow) -> None:
        """Say how large a round of the batch is; from now on the batch is active."""
        self._set(batch_id, f"plan/{plan.round}", packed(plan), active=True)

    def report(self, batch_id: str, stage: str, chunk_id: str, chunk: ChunkNow) -> None:
        """Say how far a chunk is."""
        self._set(batch_id, f"{stage}/{chunk_id}", packed(chunk))

    def end(self, batch_id: str, state: str) -> None:
        """Say how the batch's run ended: `success`, `failed`, `cancelled`. It is no longer active."""
        self._set(batch_id, "end", json.dumps([state, round(time.time(), 3)]), active=False)

    def active(self) -> list[str]:
        """The batches that are planned and have not ended, by name."""
        return sorted(self._ask(lambda server: server.smembers(ACTIVE), set(), "the active batches"))

    def ended_lately(self, within_s: float) -> dict[str, float]:
        """The last batches that ended, the newest first, and when, in epoch seconds."""
        least = time.time() - within_s
        nothing: list[tuple[str, float]] = []
        told = self._ask(
            lambda server: server.zrevrangebyscore(_ENDED, "+inf", least, withscores=True),
            nothing,
            "what ended",
        )
        return dict(told)

    def read_all(self, batch_ids: Sequence[str]) -> dict[str, Snapshot]:
        """As `read`, of many batches by one call."""
        if self._redis is None or not batch_ids:
            return {batch_id: unpacked({}) for batch_id in batch_ids}
        pipe = self._redis.pipeline(transaction=False)
        for batch_id in batch_ids:
            pipe.hgetall(_key(batch_id))
        nothing: list[dict[str, str]] = [{}] * len(batch_ids)
        told = self._ask(lambda _: pipe.execute(), nothing, "progress")
        return {batch_id: unpacked(one) for batch_id, one in zip(batch_ids, told, strict=True)}

    def read(self, batch_id: str) -> Snapshot:
        """All that is known of a batch; nothing where nothing is."""
        key = _key(batch_id)
        return unpacked(self._ask(lambda server: server.hgetall(key), {}, f"progress of {batch_id}"))

    def chunk(self, batch_id: str, stage: str, chunk_id: str) -> ChunkNow | None:
        """What one chunk told last; None where it told nothing."""
        key, field = _key(batch_id), f"{stage}/{chunk_id}"
        told = self._ask(lambda server: server.hget(key, field), None, f"progress of {batch_id}")
        return None if told is None else chunk_of(json.loads(told))

    def _set(self, batch_id: str, field: str, value: str, active: bool | None = None) -> None:
        if self._redis is None:
            return
        key = _key(batch_id)
        pipe = self._redis.pipeline()
        pipe.hset(key, field, value)
        pipe.expire(key, KEEP_S)
        if active is True:
            pipe.hdel(key, "end")
            pipe.sadd(ACTIVE, batch_id)
            pipe.zrem(_ENDED, batch_id)
        elif active is False:
            pipe.srem(ACTIVE, batch_id)
            pipe.zadd(_ENDED, {batch_id: time.time()})
            pipe.zremrangebyrank(_ENDED, 0, -_LATELY - 1)
        self._ask(lambda _: pipe.execute(), None, f"progress of {batch_id}")


def _key(batch_id: str) -> str:
    return f"{PREFIX}{batch_id}"
