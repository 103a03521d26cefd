"""The plant as stations of a queue, from one look at what its servers and batches tell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from darkroom.flows import FLOWS, STAGES
from darkroom.live.snapshot import RECENT_S, HostNow, Snapshot
from darkroom.plans.planning import average_seconds_per_item, decide_params
from darkroom.rest.api import Run
from darkroom.serving.status import ServerStatus, State
from darkroom.settings import settings
from darkroom.views.outlook import FINAL, Outlook
from darkroom.views.queueing import Station, as_it_goes, time_left


@dataclass(frozen=True, slots=True)
class ChunksNow:
    """The chunks of one stage, as Airflow knows them."""

    scheduled: int = 0
    queued: int = 0
    running: int = 0
    put_back: int = 0
    paused: int = 0
    waited_s: float | None = None
    """From ready to started: the mean of those that run."""
    longest_s: float | None = None
    """Since the oldest of those that are scheduled was ready."""


@dataclass(frozen=True, slots=True)
class Airflow:
    """What only Airflow knows."""

    runs: Mapping[str, Run] = field(default_factory=dict)
    """The runs of `image_flow` that have not ended, by batch."""
    chunks: Mapping[str, ChunksNow] = field(default_factory=dict)
    """By stage."""


@dataclass(frozen=True, slots=True)
class BatchSeen:
    """A batch, as its chunks tell."""

    outlook: Outlook
    snapshot: Snapshot
    ended: float | None
    """When, in epoch seconds."""

    @property
    def works(self) -> bool:
        """Whether lanes work on it, or would if they could."""
        return self.outlook.state not in (*FINAL, "paused")


@dataclass(frozen=True)
class Stations:
    """One look at the plant."""

    airflow: Airflow
    servers: Sequence[ServerStatus]
    batches: Mapping[str, BatchSeen]
    rates: Mapping[str, Mapping[str, float]]
    """Seconds per item by stage and server."""

    @cached_property
    def names(self) -> list[str]:
        """The stages that a batch needs, or that have a server."""
        needed = {stage for one in self.batches.values() for stage in FLOWS[one.outlook.flow].stages}
        return [name for name in STAGES if name in needed | {server.stage for server in self.servers}]

    @cached_property
    def left(self) -> tuple[float, str | None]:
        """Seconds until the working batches end, infinite without a server; and the stage that decides it."""
        return time_left(self.now, self.paths)

    @cached_property
    def working(self) -> list[BatchSeen]:
        """The batches that lanes work on."""
        return [one for one in self.batches.values() if one.works]

    @cached_property
    def paths(self) -> list[Sequence[str]]:
        """The stages that each of them goes through."""
        return [FLOWS[one.outlook.flow].stages for one in self.working]

    @cached_property
    def hosts(self) -> dict[tuple[str, str], list[tuple[BatchSeen, HostNow]]]:
        """By stage and server: what it does for which batch."""
        found: dict[tuple[str, str], list[tuple[BatchSeen, HostNow]]] = {}
        for one in self.batches.values():
            for host in one.snapshot.hosts:
                found.setdefault((host.stage, host.host), []).append((one, host))
        return found

    @cached_property
    def now(self) -> dict[str, Station]:
        """By stage."""
        return {name: self._station(name) for name in self.names}

    def ready(self, stage: str) -> list[ServerStatus]:
        """The servers of a stage that take chunks."""
        return [one for one in self.servers if one.stage == stage and one.state is State.READY]

    def pace(self, server: ServerStatus) -> tuple[float, float]:
        """Items a second of a server over all batches, and the seconds that stands on."""
        found = [host for _, host in self.hosts.get((server.stage, server.worker), [])]
        over_s = max((host.over_s for host in found), default=0.0)
        # Each batch may have been measured over another time.
        return (sum(host.items_per_s * host.over_s for host in found) / over_s if over_s else 0.0), over_s

    def _pace_at_work(self, server: ServerStatus) -> tuple[float, float]:
        """The same since batches that still run have work for it: before, it may have had none."""
        found = self.hosts.get((server.stage, server.worker), [])
        begun = [_begun(one, host) for one, host in found if one.works and host.over_s]
        if not begun:
            return 0.0, 0.0
        since, seen = min(begun), max(one.snapshot.seen for one, _ in found)
        items = 0.0
        for one, host in found:
            begin, end = _begun(one, host), one.snapshot.seen if host.chunks else host.updated
            # Of a batch that has ended only what falls in that time.
            share = (end - max(begin, since)) / (end - begin) if end > begin else 0.0
            items += host.items_per_s * host.over_s * max(0.0, share)
        return items / (seen - since), seen - since

    def seconds_per_item(self, stage: str) -> float:
        """Of an average server that is ready; else of all that were measured, else as the table says."""
        known = self.rates.get(stage, {})
        ready = {one.worker: known[one.worker] for one in self.ready(stage) if one.worker in known}
        return average_seconds_per_item(ready or known) if known else STAGES[stage].seconds_per_item

    def items(self, stage: str) -> tuple[int, int, int]:
        """Items in front of a stage, in its running chunks, and all that it has still to finish with."""
        queue = flying = remaining = 0
        for one in self.working:
            before = 0
            for view in one.outlook.stages:
                if view.stage == stage:
                    queue += max(0, view.remaining - before - view.in_flight)
                    flying += view.in_flight
                    remaining += view.remaining
                before = view.remaining
        return queue, flying, remaining

    @cached_property
    def _last_items(self) -> dict[str, int]:
        """By stage: items in the last chunks of a batch, as the planner would cut one now."""
        here, found = settings(), dict[str, int]()
        each_s = {name: self.seconds_per_item(name) for name in STAGES}
        servers = {name: len(self.ready(name)) for name in STAGES}
        for flow in {one.outlook.flow for one in self.working}:
            params = decide_params(
                "", flow, min_chunk_s=here.min_chunk_s, max_chunk_s=here.max_chunk_s, seconds_per_item=each_s,
                servers=servers,
            )  # fmt: skip
            for stage in FLOWS[flow].stages:
                found[stage] = max(found.get(stage, 1), params.last_items or params.min_items)
        return found

    def _station(self, stage: str) -> Station:
        queue, flying, remaining = self.items(stage)
        chunks = self.airflow.chunks.get(stage, ChunksNow())
        number = chunks.scheduled + chunks.queued + chunks.running
        size = (queue + flying) / number if number else STAGES[stage].batch_size
        ready = self.ready(stage)
        # What was measured for less than half a minute is about to change.
        paces = [rate for rate, over_s in map(self._pace_at_work, ready) if over_s >= RECENT_S / 2]
        each_s = as_it_goes(self.seconds_per_item(stage), len(paces), sum(paces), bool(queue))
        return Station(len(ready), each_s, remaining, max(1.0, size), self._last_items.get(stage, math.inf))

    def per_s_in(self, stage: str) -> float:
        """Items a second that the stage before hands on, or that were planned within the last minute."""
        per_s = 0.0
        for one in self.working:
            names, seen = FLOWS[one.outlook.flow].stages, one.snapshot
            position = names.index(stage) if stage in names else -1
            if position > 0:
                per_s += one.outlook.stages[position - 1].items_per_s
            elif position == 0:
                per_s += sum(p.items for p in seen.plans if seen.seen - p.begun <= RECENT_S) / RECENT_S
        return per_s


def _begun(batch: BatchSeen, host: HostNow) -> float:
    """Since when a host's pace was measured, in epoch seconds."""
    return batch.snapshot.seen - host.over_s
