"""Several stages and batches as an event loop, chunk by chunk: what a what-if is compared with.

Simulated are servers whose lanes share them, one queue a stage, first come first served, the gap between two
chunks of a lane, items whose time varies, and a server that is added or taken away in the middle. The same
seed gives every chunk the same work, whatever happens around it.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from darkroom.flows import FLOWS, STAGES
from darkroom.live.snapshot import RECENT_S
from darkroom.plans.planning import decide_params
from darkroom.settings import Settings
from darkroom.views.queueing import Station, as_it_goes


@dataclass(frozen=True)
class Scenario:
    """A plant, its batches, and what is changed in the middle."""

    name: str
    item_s: Mapping[str, float]
    """By stage, on a server of speed 1."""
    speeds: Mapping[str, Sequence[float]]
    """By stage: of its servers."""
    batches: Sequence[tuple[str, int]]
    """Flow and items; all start at once."""
    stage: str
    """Whose servers change."""
    step: int = 1
    """1: one of average speed is added; -1: the last one goes."""
    at: float = 0.3
    """When: at this share of the makespan without a change."""
    cv: float = 0.3
    """Standard deviation of an item's time over its mean."""
    gap_s: float = 1.5
    """Between two chunks of a lane."""


@dataclass(eq=False)
class _Chunk:
    flow: str
    number: tuple[int, int]
    """Of its batch, and in it."""
    items: int
    position: int = 0
    """In the flow: at which stage it is."""
    left: float = 0.0
    """Work that this stage has still to do for it, in seconds at speed 1."""
    work: float = 0.0

    @property
    def stage(self) -> str:
        return FLOWS[self.flow].stages[self.position]


@dataclass(eq=False)
class _Server:
    speed: float
    free: int
    """Lanes that may take a chunk."""
    jobs: list[_Chunk] = field(default_factory=list)
    since_s: float = 0.0
    version: int = 0
    gone: bool = False
    items_done: float = 0.0

    def advance(self, now_s: float) -> None:
        """Its lanes share it."""
        seconds, self.since_s = now_s - self.since_s, now_s
        for job in self.jobs:
            step = min(job.left, seconds * self.speed / len(self.jobs))
            job.left -= step
            self.items_done += job.items * step / job.work


class Plant:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Cut the batches as the planner does."""
        self.scenario, self.seed = scenario, seed
        self.now_s, self.order = 0.0, itertools.count()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.counted: dict[str, float] = {}
        self.counted_at_s = 0.0
        self.begun_s: dict[str, float] = {}
        self.queues: dict[str, deque[_Chunk]] = {stage: deque() for stage in scenario.speeds}
        self.servers = {
            stage: [_Server(speed, STAGES[stage].lanes_per_server) for speed in speeds]
            for stage, speeds in scenario.speeds.items()
        }
        self.last_items = dict[str, int]()
        self.chunks = [
            chunk for number, batch in enumerate(scenario.batches) for chunk in self._cut(number, *batch)
        ]
        # The batches' chunks come side by side, as their runs are scheduled side by side.
        for chunk in sorted(self.chunks, key=lambda one: (one.number[1], one.number[0])):
            self._arrive(chunk)

    def run(self, change_at_s: float | None = None, look: Callable[["Plant"], None] | None = None) -> float:
        """The makespan; at `change_at_s` it is looked at, and unless only that is asked for, changed."""
        if change_at_s is not None:
            self._at(max(0.0, change_at_s - RECENT_S), self._count)
            self._at(change_at_s, lambda: look(self) if look else self._change())
        for stage in self.queues:
            self._hand_out(stage)
        end_s = 0.0
        while self.events:
            self.now_s, _, happen = heapq.heappop(self.events)
            happen()
            if any(chunk.position < len(FLOWS[chunk.flow].stages) for chunk in self.chunks):
                continue
            end_s = end_s or self.now_s
        return end_s

    def stations(self) -> dict[str, Station]:
        """What the plant's own figures would say of the stages now."""
        found = {}
        for stage, servers in self.servers.items():
            at_work = [server for server in servers if not server.gone]
            done = self._done(stage) - self.counted[stage]
            running = [job for server in at_work for job in server.jobs]
            here = sum(job.items * job.left / job.work for job in running) + sum(
                c.items for c in self.queues[stage]
            )
            number = len(running) + len(self.queues[stage])
            to_come = sum(c.items for c in self.chunks if stage in self._after(c))
            speed = sum(server.speed for server in at_work) / max(1, len(at_work))
            model_s = self.scenario.item_s[stage] / speed
            seconds = as_it_goes(
                model_s,
                len(at_work),
                done / (self.now_s - max(self.counted_at_s, self.begun_s.get(stage, 0.0))),
                bool(self.queues[stage]),
            )
            found[stage] = Station(
                len(at_work), seconds, here + to_come, here / number if number else 1.0,
                self.last_items.get(stage, math.inf),
            )  # fmt: skip
        return found

    def _count(self) -> None:
        self.counted_at_s, self.counted = self.now_s, {stage: self._done(stage) for stage in self.servers}

    def _done(self, stage: str) -> float:
        for server in self.servers[stage]:
            server.advance(self.now_s)
        return sum(server.items_done for server in self.servers[stage])

    def paths(self) -> list[Sequence[str]]:
        """Of the flows that have chunks left."""
        flows = {chunk.flow for chunk in self.chunks if chunk.position < len(FLOWS[chunk.flow].stages)}
        return [FLOWS[flow].stages for flow in sorted(flows)]

    @staticmethod
    def _after(chunk: _Chunk) -> Sequence[str]:
        return FLOWS[chunk.flow].stages[chunk.position + 1 :]

    def _cut(self, batch: int, flow: str, items: int) -> list[_Chunk]:
        own = {name: one.default for name, one in Settings.model_fields.items()}
        servers = {stage: len(speeds) for stage, speeds in self.scenario.speeds.items()}
        params = decide_params(
            "simulated", flow, min_chunk_s=own["min_chunk_s"], max_chunk_s=own["max_chunk_s"],
            seconds_per_item=self.scenario.item_s, servers=servers,
        )  # fmt: skip
        for stage in FLOWS[flow].stages:
            self.last_items[stage] = max(self.last_items.get(stage, 1), params.last_items or params.min_items)
        return [_Chunk(flow, (batch, number), size) for number, size in enumerate(params.sizes(items))]

    def _arrive(self, chunk: _Chunk) -> None:
        chance = random.Random(f"{self.seed} {chunk.number} {chunk.stage}")
        variance = self.scenario.cv**2
        chunk.work = chunk.left = self.scenario.item_s[chunk.stage] * (
            chance.gammavariate(chunk.items / variance, variance) if variance else chunk.items
        )
        self.queues[chunk.stage].append(chunk)

    def _hand_out(self, stage: str) -> None:
        """To the server with the fewest jobs first, as lanes of idle ones ask first."""
        while self.queues[stage]:
            free = [server for server in self.servers[stage] if server.free and not server.gone]
            if not free:
                return
            server = min(free, key=lambda one: len(one.jobs))
            server.advance(self.now_s)
            server.free -= 1
            server.jobs.append(self.queues[stage].popleft())
            self.begun_s.setdefault(stage, self.now_s)
            self._foresee(stage, server)

    def _foresee(self, stage: str, server: _Server) -> None:
        server.version += 1
        if server.jobs:
            version, next_s = (
                server.version,
                min(job.left for job in server.jobs) * len(server.jobs) / server.speed,
            )
            self._at(self.now_s + next_s, lambda: self._ended(stage, server, version))

    def _ended(self, stage: str, server: _Server, version: int) -> None:
        if version != server.version or server.gone:
            return
        server.advance(self.now_s)
        job = min(server.jobs, key=lambda one: one.left)
        server.jobs.remove(job)
        self._at(self.now_s + self.scenario.gap_s, lambda: self._lane_back(stage, server))
        self._foresee(stage, server)
        job.position += 1
        if job.position < len(FLOWS[job.flow].stages):
            self._arrive(job)
            self._hand_out(job.stage)

    def _lane_back(self, stage: str, server: _Server) -> None:
        server.free += 1
        self._hand_out(stage)

    def _change(self) -> None:
        stage, servers = self.scenario.stage, self.servers[self.scenario.stage]
        if self.scenario.step > 0:
            speed = sum(server.speed for server in servers) / len(servers)
            servers.append(_Server(speed, STAGES[stage].lanes_per_server, since_s=self.now_s))
        else:
            servers[-1].advance(self.now_s)
            servers[-1].gone = True
            self.queues[stage].extendleft(reversed(servers[-1].jobs))  # they go on elsewhere
        self._hand_out(stage)

    def _at(self, when_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when_s, next(self.order), happen))
