"""Old keys in Redis: progress and wishes of batches that nobody works on, rates of hosts that are silent.

All of them expire by themselves, but the set of active batches, and hosts in the rates of a stage that
others still work for.
"""

import json
import time
from typing import Any

import redis

from darkroom.errors import PlantAway
from darkroom.live import control, progress, rates
from darkroom.live.connection import TIMEOUT_S
from darkroom.retention.tally import Tally


def clean(url: str, live: frozenset[str], before_s: float, tally: Tally) -> None:
    """Forget what was last written before `before_s`; of the batches in `live`, nothing.

    Raises:
        PlantAway: Redis does not answer.
    """
    with redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
    ) as server:
        try:
            for prefix, keep_s in ((progress.PREFIX, progress.KEEP_S), (control.PREFIX, control.KEEP_S)):
                _forget_batches(server, prefix, keep_s, live, before_s, tally)
            _forget_active(server, live, tally)
            _forget_hosts(server, before_s, tally)
        except redis.RedisError as error:
            raise PlantAway(f"Redis does not answer: {error}") from error


def _forget_batches(
    server: Any, prefix: str, keep_s: int, live: frozenset[str], before_s: float, tally: Tally
) -> None:
    for key in server.scan_iter(f"{prefix}*", count=500):
        left_s = server.ttl(key)
        # Each write gives it `keep_s` again, so what is left says when it was last written.
        written_s = time.time() - keep_s + left_s
        if left_s < 0 or written_s >= before_s or key.removeprefix(prefix) in live:
            continue
        tally.add(server.memory_usage(key) or 0, written_s)
        if not tally.dry_run:
            server.delete(key)


def _forget_active(server: Any, live: frozenset[str], tally: Tally) -> None:
    """Batches that never said that they ended, and that nobody works on."""
    for batch_id in server.smembers(progress.ACTIVE) - live:
        if not server.exists(progress.PREFIX + batch_id):
            tally.add(len(batch_id), None)
            if not tally.dry_run:
                server.srem(progress.ACTIVE, batch_id)


def _forget_hosts(server: Any, before_s: float, tally: Tally) -> None:
    for key in server.scan_iter(f"{rates.PREFIX}*", count=500):
        for host, told in server.hscan_iter(key):
            written_s = json.loads(told)[-1]
            if written_s < before_s:
                tally.add(len(host) + len(told), written_s)
                if not tally.dry_run:
                    server.hdel(key, host)
