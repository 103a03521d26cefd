"""One look at a batch: what its chunks have told, added up by stage and by host. Pure.

A chunk tells of itself, so its last word counts and telling twice counts once. Who tells and where it
is kept: `progress.py`.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from darkroom.live.told import ChunkNow, Counts, PlanNow, chunk_of, plan_of

RECENT_S = 60.0
"""Over which a rate counts as that of now."""


@dataclass(frozen=True, slots=True)
class HostNow:
    """One server's work on a batch in one stage."""

    host: str
    stage: str
    counts: Counts
    """Of the chunks that it was the last to take, what it reused included."""
    in_flight: int
    """Items of its running chunks that it has not finished with."""
    busy_s: float
    reused: int
    chunks: tuple[str, ...]
    """The chunks it is running."""
    largest_chunk: int
    """Items still open in the largest of them."""
    reasons: tuple[str, ...]
    """Why chunks that it had were put back, and no other host has taken them since."""
    items_per_s: float
    """Now: see `pace`."""
    over_s: float
    """How long `items_per_s` was measured; at the begin of a chunk it says little."""
    updated: float
    """When it last told something, in epoch seconds."""

    @property
    def computed(self) -> int:
        """Items that it finished with by work of its own."""
        return max(0, self.counts.total - self.reused)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at a batch."""

    plans: tuple[PlanNow, ...]
    """By round; empty before the first plan is committed."""
    stages: dict[str, Counts]
    """First round only, so that a later one does not move the bar beyond its end."""
    respins: dict[str, Counts]
    """The rounds after the first."""
    in_flight: dict[str, int]
    """By stage: items of running chunks that are not finished with."""
    settled: dict[str, int]
    """By stage: items of the newest round that it has finished with, or left over for the next."""
    hosts: tuple[HostNow, ...]
    """By stage and name."""
    ended: str
    """How its run ended; empty while it works."""
    updated: float
    """When a chunk last told something, in epoch seconds; 0: never."""
    seen: float
    """When this look was taken, in epoch seconds."""

    @property
    def items(self) -> int | None:
        """Planned items; None before the plan is committed."""
        return self.plans[0].items if self.plans else None

    @property
    def rejects(self) -> int:
        """Lines of the source that were not items."""
        return self.plans[0].rejects if self.plans else 0

    @property
    def flow(self) -> str:
        """The name of its flow; empty before the plan is committed."""
        return self.plans[0].flow if self.plans else ""

    def remaining(self, stage: str) -> int:
        """Items that `stage` has still to finish with: what an earlier round left, the newest has planned."""
        newest = newest_of(self.plans)
        return max(0, newest.items - self.settled.get(stage, 0)) if newest else 0


@dataclass(slots=True)
class _Sum:
    """Adds up what chunks told: one object that changes, as there may be ten thousands of them."""

    done: int = 0
    rejected: int = 0
    failed: int = 0
    in_flight: int = 0

    def add(self, chunk: ChunkNow) -> None:
        self.done += chunk.done
        self.rejected += chunk.rejected
        self.failed += chunk.failed
        if chunk.state == "running":
            self.in_flight += chunk.open

    @property
    def counts(self) -> Counts:
        return Counts(self.done, self.rejected, self.failed)


@dataclass(slots=True)
class _Host(_Sum):
    """Adds up what the chunks of one host told."""

    busy_s: float = 0.0
    reused: int = 0
    chunks: list[str] = field(default_factory=list)
    largest_chunk: int = 0
    reasons: set[str] = field(default_factory=set)
    recent: list[ChunkNow] = field(default_factory=list)
    updated: float = 0.0

    def take(self, chunk_id: str, chunk: ChunkNow, seen: float) -> None:
        self.add(chunk)
        self.busy_s += chunk.busy_s
        self.reused += chunk.reused
        self.updated = max(self.updated, chunk.updated)
        if chunk.state == "running":
            self.chunks.append(chunk_id)
            self.largest_chunk = max(self.largest_chunk, chunk.open)
        elif chunk.state != "ended" and chunk.reason:
            self.reasons.add(chunk.reason)
        if chunk.state == "running" or chunk.updated > seen - RECENT_S:
            self.recent.append(chunk)

    def told(self, stage: str, host: str, seen: float) -> HostNow:
        return HostNow(
            host, stage, self.counts, self.in_flight, self.busy_s, self.reused, tuple(sorted(self.chunks)),
            self.largest_chunk, tuple(sorted(self.reasons)), *pace(self.recent, seen), self.updated,
        )  # fmt: skip


def pace(chunks: Iterable[ChunkNow], seen: float) -> tuple[float, float]:
    """Items a second over the last `RECENT_S`, what existed already left out; and the seconds it stands on.

    Each chunk's items are spread evenly over its time, and of that the last `RECENT_S` count; a running
    chunk's time goes on until `seen`, so a host that hangs gets slower with every look.
    """
    items, since = 0.0, seen
    for chunk in chunks:
        end = seen if chunk.state == "running" else min(seen, chunk.updated)
        begin = max(chunk.begun, seen - RECENT_S)
        if begin < end:
            items += max(0, chunk.counts.total - chunk.reused) * (end - begin) / (end - chunk.begun)
            since = min(since, begin)
    return (items / (seen - since), seen - since) if since < seen else (0.0, 0.0)


def newest_of(plans: Iterable[PlanNow]) -> PlanNow | None:
    """The round that is worked on: the last that was planned, or taken up again by a retry."""
    return max(plans, key=lambda plan: (plan.begun, plan.round), default=None)


def _round_of(chunk_id: str) -> int:
    """`r1-3fa94be1-00042` is of round 1, `00042` of the first, which is 0."""
    return int(chunk_id[1:].partition("-")[0]) if chunk_id.startswith("r") else 0


def take(
    plans: Iterable[PlanNow],
    chunks: Iterable[tuple[str, str, ChunkNow]],
    ended: str = "",
    seen: float | None = None,
) -> Snapshot:
    """Add up what was told.

    Args:
        plans: one per planned round.
        chunks: stage, chunk id, and what the chunk told last.
        ended: how the batch's run ended.
        seen: when, in epoch seconds; default: now.
    """
    now = time.time() if seen is None else seen
    first: dict[str, _Sum] = {}
    later: dict[str, _Sum] = {}
    hosts: dict[tuple[str, str], _Host] = {}
    settled: Counter[str] = Counter()
    plans = tuple(sorted(plans, key=lambda plan: plan.round))
    newest = newest_of(plans)
    for stage, chunk_id, told in chunks:
        number = _round_of(chunk_id)
        # Rounds don't overlap, and a chunk that failed for good has not said that it ended.
        is_over = newest is not None and number != newest.round and told.state != "ended"
        chunk = replace(told, state="ended") if is_over else told
        if newest is not None and number == newest.round:
            settled[stage] += chunk.counts.total + (chunk.open if chunk.state == "ended" else 0)
        into = later if number else first
        if stage not in into:
            into[stage] = _Sum()
        into[stage].add(chunk)
        if (stage, chunk.host) not in hosts:
            hosts[stage, chunk.host] = _Host()
        hosts[stage, chunk.host].take(chunk_id, chunk, now)
    stages = first.keys() | later.keys()
    rounds = {stage: [sums[stage] for sums in (first, later) if stage in sums] for stage in stages}
    return Snapshot(
        plans=plans,
        stages={stage: one.counts for stage, one in first.items()},
        respins={stage: one.counts for stage, one in later.items()},
        in_flight={stage: sum(one.in_flight for one in both) for stage, both in rounds.items()},
        settled=dict(settled),
        hosts=tuple(hosts[key].told(*key, now) for key in sorted(hosts)),
        ended=ended,
        updated=max((host.updated for host in hosts.values()), default=0.0),
        seen=now,
    )


def unpacked(told: Mapping[str, str], seen: float | None = None) -> Snapshot:
    """What a batch's fields say: `plan/{round}`, `end`, and `{stage}/{chunk_id}` for each chunk."""
    # One call for all of them: thousands of small ones would take several times as long.
    values: dict[str, Any] = dict(zip(told, json.loads(f"[{','.join(told.values())}]"), strict=True))
    ended = values.pop("end", [""])
    plans = [plan_of(values.pop(name)) for name in list(values) if name.startswith("plan/")]
    chunks = []
    for name, value in values.items():
        stage, _, chunk_id = name.partition("/")
        if (chunk := chunk_of(value)) is not None:
            chunks.append((stage, chunk_id, chunk))
    return take(plans, chunks, str(ended[0]), seen)
