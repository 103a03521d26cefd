"""What is measured as it happens, all over the plant: how long items and chunks take, and how many are done.

Key `darkroom:meter:{n}` for the n-th `SLOT_S` of the epoch, a hash of counters that is gone after `KEEP_S`:
`items/{stage}/{batch_id}`, and histograms `item_s/{stage}/{bucket}` and `chunk_s/{stage}/{bucket}`. Buckets
grow by a factor, so a quantile is within 5 % wherever it lies, and a stage has 243 at most (Masson, Rim, Lee,
*DDSketch*, VLDB 2019). Key `darkroom:pictures`: the last pictures, as JSON. Losing it loses half an hour.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from darkroom.live.connection import InRedis

SLOT_S = 20
SLOTS = 90
"""Half an hour."""
KEEP_S = SLOT_S * (SLOTS + 2)
PICTURES = 24
_KEY, _PICTURES = "darkroom:meter:", "darkroom:pictures"
_GROWTH = math.log(1.1)
_LEAST_S, _MOST_S = 1e-4, 1e6


@dataclass(frozen=True, slots=True)
class Measured:
    """The last half hour."""

    slots: tuple[float, ...] = ()
    """Begin of each, in epoch seconds; the last one goes on."""
    items: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """By batch and stage: items computed in each slot."""
    item_s: dict[str, Counter[int]] = field(default_factory=dict)
    """By stage: how many items fell into which bucket."""
    chunk_s: dict[str, Counter[int]] = field(default_factory=dict)


class Meter(InRedis):
    """The meter of a plant; an empty URL has none. A Redis that is down fails nobody."""

    def computed(self, stage: str, batch_id: str, items: int, busy_s: float) -> None:
        """Say that so many items have been computed, in `busy_s` of the model's time together."""
        each = f"item_s/{stage}/{bucket(busy_s / items)}"
        self._count({f"items/{stage}/{batch_id}": items, each: items})

    def chunk(self, stage: str, seconds: float) -> None:
        """Say that a chunk has ended, and how long its lane had it."""
        self._count({f"chunk_s/{stage}/{bucket(seconds)}": 1})

    def picture(self, **told: str | float) -> None:
        """Show a picture that was just finished: the fields of a `PictureNow`."""

        def fill(pipe: Any) -> None:
            pipe.lpush(_PICTURES, json.dumps(told))
            pipe.ltrim(_PICTURES, 0, PICTURES - 1)

        self._write(fill, "a picture")

    def pictures(self) -> list[dict[str, str | float]]:
        """The last pictures, the newest first."""
        nothing: list[str] = []
        told = self._ask(lambda server: server.lrange(_PICTURES, 0, -1), nothing, "the last pictures")
        return [json.loads(one) for one in told]

    def read(self, now: float | None = None) -> Measured:
        """What was counted in the last `SLOTS` slots."""
        last = int((time.time() if now is None else now) // SLOT_S)
        if self._redis is None:
            return Measured()
        pipe = self._redis.pipeline(transaction=False)
        numbers = range(last - SLOTS + 1, last + 1)
        for number in numbers:
            pipe.hgetall(f"{_KEY}{number}")
        nothing: list[dict[str, str]] = []
        told = self._ask(lambda _: pipe.execute(), nothing, "the meter")
        return added(told, tuple(float(number * SLOT_S) for number in numbers)) if told else Measured()

    def _count(self, counters: Mapping[str, int]) -> None:
        key = f"{_KEY}{int(time.time() // SLOT_S)}"

        def fill(pipe: Any) -> None:
            for name, number in counters.items():
                pipe.hincrby(key, name, number)
            pipe.expire(key, KEEP_S)

        self._write(fill, "the meter")


def added(told: Iterable[Mapping[str, str]], slots: tuple[float, ...]) -> Measured:
    """One hash a slot, sorted by what it counts."""
    measured = Measured(slots)
    histograms = {"item_s": measured.item_s, "chunk_s": measured.chunk_s}
    for position, counters in enumerate(told):
        for name, number in counters.items():
            kind, stage, rest = name.split("/", 2)
            if kind == "items":
                measured.items.setdefault((rest, stage), [0] * len(slots))[position] += int(number)
            elif kind in histograms:
                histograms[kind].setdefault(stage, Counter())[int(rest)] += int(number)
    return measured


def bucket(seconds: float) -> int:
    """Where a length of time is counted."""
    return round(math.log(min(max(seconds, _LEAST_S), _MOST_S)) / _GROWTH)


def quantile(counts: Counter[int], share: float) -> float:
    """The length of time, in seconds, that so large a share does not exceed; `counts` is not empty."""
    wanted, seen = share * counts.total(), 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= wanted:
            break
    return math.exp(number * _GROWTH)
