"""What a simulated fleet is made of. Work is measured in seconds at speed 1."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from darkroom.flows import STAGES
from darkroom.plans.planning import Params, average_seconds_per_item, decide_params
from darkroom.settings import Settings
from darkroom.views.forecast import Forecast

STAGE = STAGES["generate"]
"""Its lanes and its time limit; how long its items take is `ITEM_S`."""
ITEM_S = 10.0
"""Of an item at speed 1, on average."""


@dataclass(frozen=True)
class World:
    """What is not Darkroom's to choose."""

    cv: float = 0.3
    """Standard deviation of an item's time over its mean."""
    gap_s: float = 1.5
    """Between two chunks of a lane: a task's end, the scheduler, the next one's start."""
    start_every_s: float = 0.25
    """What one scheduler needs for a task start, all hosts together."""
    shard_start_s: float = 5.0
    """From when a lane has taken a shard's last chunk to when the next shard's first can be taken. Assumed:
    what `bench.interactive` measures, 9 and 13 s as medians of four on a slow machine, is until it *was*
    taken, and so also the wait for a lane: there one is free every 5 s."""
    round_s: float = 6.0
    """From the end of a round to the next one's first chunk: collect, leftovers, start."""
    noticed_s: float = 90.0
    """A dead machine's chunks are put back after this."""
    rate_window_s: float = 300.0
    """Time constant of a host's measured rate, in busy seconds."""


@dataclass(frozen=True)
class Case:
    """One kind of run; what happens to its victim happens at 30 % of the ideal time."""

    name: str
    factor: float | None = None
    """The victim's speed is multiplied by it; 0: it dies."""
    comes_late: bool = False
    failing: float = 0.0
    """Share of items that fail for good, after three tries."""

    @property
    def has_victim(self) -> bool:
        """Whether something happens to one of the machines."""
        return self.factor is not None or self.comes_late


@dataclass(eq=False)
class Job:
    """A chunk at work, or waiting to be: its items are one sum."""

    items: int
    work: float
    size: int
    """Items when it was cut: a chunk that was put back has fewer left."""
    done: float = 0.0
    target: float = math.inf
    """Where it ends: all of its work, or the item boundary where its budget was spent."""

    @property
    def unit(self) -> float:
        """Work of each item."""
        return self.work / self.items

    @property
    def to_do(self) -> float:
        """Work until it ends."""
        return min(self.work, self.target) - self.done

    def items_done(self) -> int:
        """Whole items."""
        return min(self.items, math.floor(self.done / self.unit + 1e-6))

    def end_with_this_item(self) -> None:
        """Its budget is spent."""
        self.target = math.ceil(self.done / self.unit - 1e-6) * self.unit


@dataclass(eq=False)
class Server:
    """A machine; its busy lanes share its speed."""

    name: str
    speed: float
    lanes: list[Job | None]
    ahead: Job | None = None
    """Of the lane that is a batch ahead (`darkroom.chunks.turns`): served twice as often as the others."""
    at_work: bool = True
    since_s: float = 0.0
    version: int = 0
    """Grows whenever what was foreseen of it no longer holds."""
    items_seen: float = 0.0
    busy_seen_s: float = 0.0

    @property
    def jobs(self) -> list[Job]:
        """What its lanes are busy with."""
        return [job for job in self.lanes if job]

    def paces(self) -> list[tuple[Job, float]]:
        """How fast each of its jobs goes."""
        jobs = self.jobs
        if self.ahead not in jobs:
            self.ahead = jobs[0] if jobs else None
        shares = [2 if job is self.ahead else 1 for job in jobs]
        return [(job, self.speed * share / sum(shares)) for job, share in zip(jobs, shares, strict=True)]

    def advance(self, now_s: float, window_s: float) -> None:
        """Count down what the busy lanes have done since the last time."""
        seconds, self.since_s = now_s - self.since_s, now_s
        if not self.jobs or not self.speed or seconds <= 0:
            return
        items = 0.0
        for job, pace in self.paces():
            step = min(job.to_do, seconds * pace)
            job.done += step
            items += step / job.unit
        fade = math.exp(-seconds / window_s)
        self.items_seen = self.items_seen * fade + items
        self.busy_seen_s = self.busy_seen_s * fade + seconds


@dataclass(frozen=True)
class Look:
    """A forecast in the middle, to be compared with the end."""

    share: float
    at_s: float
    said: Forecast


@dataclass
class Outcome:
    """What came of a run."""

    makespan_s: float = 0.0
    bound_s: float = 0.0
    """See `fluid_s`."""
    chunks: int = 0
    runs: int = 0
    rounds: int = 0
    undone: int = 0
    """Items that no round was left for."""
    left_over: list[int] = field(default_factory=list)
    """Items of each round after the first."""
    looks: list[Look] = field(default_factory=list)

    @property
    def excess(self) -> float:
        """How far above the bound it ended."""
        return self.makespan_s / self.bound_s - 1


def params_for(speeds: Sequence[float]) -> Params:
    """What the planner decides with Darkroom's own settings for these machines."""
    own = {name: field.default for name, field in Settings.model_fields.items()}
    average_s = average_seconds_per_item({str(n): ITEM_S / speed for n, speed in enumerate(speeds)})
    return decide_params(
        "simulated", "A",
        min_chunk_s=own["min_chunk_s"], max_chunk_s=own["max_chunk_s"], shard_chunks=own["shard_chunks"],
        seconds_per_item={STAGE.name: average_s}, servers={STAGE.name: len(speeds)},
    )  # fmt: skip


def fluid_s(work: float, capacity: Sequence[tuple[float, float]]) -> float:
    """When work that can be divided at will is done by machines of these speeds: nobody can be faster.

    The smallest T whose integral of speed over 0..T is `work`; with constant speeds, work / sum(speeds).

    Args:
        work: in seconds at speed 1.
        capacity: from when on the speeds add up to what, in order of time, the first from 0 on.
    """
    for (begin_s, speed), (end_s, _) in itertools.pairwise([*capacity, (math.inf, 0.0)]):
        if work <= speed * (end_s - begin_s):
            return begin_s + work / speed
        work -= speed * (end_s - begin_s)
    raise ValueError("no machine is left")
