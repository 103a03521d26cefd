"""The plant in numbers: of each stage and server, from one look at what they and their batches tell."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from darkroom.api import Run
from darkroom.fleet import waiting
from darkroom.flows import FLOWS, STAGES
from darkroom.meter import Measured, quantile
from darkroom.outlook import FINAL, Outlook
from darkroom.overview import (
    ChunkAt,
    Lanes,
    Quantiles,
    ServerNow,
    Servers,
    StageNow,
    Wait,
    Waiting,
    WhatIf,
)
from darkroom.planning import average_seconds_per_item, decide_params
from darkroom.queueing import (
    Station,
    as_it_goes,
    littles_wait_s,
    steady_wait_s,
    time_left,
    utilisation,
    with_servers,
)
from darkroom.serving.status import ServerStatus, State
from darkroom.settings import settings
from darkroom.snapshot import RECENT_S, HostNow, Snapshot


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
class Figures:
    """One look at the plant."""

    airflow: Airflow
    servers: Sequence[ServerStatus]
    batches: Mapping[str, BatchSeen]
    rates: Mapping[str, Mapping[str, float]]
    """Seconds per item by stage and server."""
    queued: Mapping[str, int]
    """Chunks in the broker, by stage."""
    measured: Measured

    @cached_property
    def names(self) -> list[str]:
        """The stages that a batch needs, or that have a server."""
        needed = {stage for one in self.batches.values() for stage in FLOWS[one.outlook.flow].stages}
        return [name for name in STAGES if name in needed | {server.stage for server in self.servers}]

    @cached_property
    def stages(self) -> list[StageNow]:
        """Those stages, in the order of the stage table."""
        return [self._stage(name) for name in self.names]

    @cached_property
    def left(self) -> tuple[float, str | None]:
        """Seconds until the working batches end, infinite without a server; and the stage that decides it."""
        return time_left(self._stations, self._paths)

    def server(self, one: ServerStatus) -> ServerNow:
        """A server and what it does."""
        does = self._hosts.get((one.stage, one.worker), [])
        usual_s = self.rates.get(one.stage, {}).get(one.worker)
        chunks = [ChunkAt(batch_id=name, chunk_id=chunk) for name, host in does for chunk in host.chunks]
        return ServerNow(
            server=one.worker, name=one.name, host=one.host, stage=one.stage, model=one.model,
            state=one.state.value, since=one.since, reason=one.reason, last_end=one.last_end,
            starts=one.starts, lanes=one.lanes, chunks=chunks,
            items_per_s=round(self._per_s(one), 4),
            usual_items_per_s=round(1 / usual_s, 4) if usual_s else None,
            errors=[reason for _, host in does for reason in host.reasons],
            device=one.loaded.device if one.loaded else "", gpu=one.gpu, memory_mb=one.memory_mb,
            memory_limit_mb=one.memory_limit_mb, canary_s=one.canary_s, told=one.updated,
        )  # fmt: skip

    @cached_property
    def _working(self) -> list[BatchSeen]:
        return [one for one in self.batches.values() if one.works]

    @cached_property
    def _paths(self) -> list[Sequence[str]]:
        return [FLOWS[one.outlook.flow].stages for one in self._working]

    @cached_property
    def _hosts(self) -> dict[tuple[str, str], list[tuple[str, HostNow]]]:
        """By stage and server: what it does for which batch."""
        found: dict[tuple[str, str], list[tuple[str, HostNow]]] = {}
        for name, one in self.batches.items():
            for host in one.snapshot.hosts:
                found.setdefault((host.stage, host.host), []).append((name, host))
        return found

    @cached_property
    def _stations(self) -> dict[str, Station]:
        return {name: self._station(name) for name in self.names}

    def _ready(self, stage: str) -> list[ServerStatus]:
        return [one for one in self.servers if one.stage == stage and one.state is State.READY]

    def _pace(self, server: ServerStatus) -> tuple[float, float]:
        """Items a second of a server over all batches, and the seconds that stands on."""
        found = [host for _, host in self._hosts.get((server.stage, server.worker), [])]
        over_s = max((host.over_s for host in found), default=0.0)
        # Each batch may have been measured over another time.
        return (sum(host.items_per_s * host.over_s for host in found) / over_s if over_s else 0.0), over_s

    def _pace_at_work(self, server: ServerStatus) -> tuple[float, float]:
        """The same since batches that still run have work for it: before, it may have had none."""
        found = [
            (self.batches[name], host) for name, host in self._hosts.get((server.stage, server.worker), [])
        ]
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

    def _per_s(self, server: ServerStatus) -> float:
        return self._pace(server)[0]

    def _seconds_per_item(self, stage: str) -> float:
        """Of an average server that is ready; else of all that were measured, else as the table says."""
        known = self.rates.get(stage, {})
        ready = {one.worker: known[one.worker] for one in self._ready(stage) if one.worker in known}
        return average_seconds_per_item(ready or known) if known else STAGES[stage].seconds_per_item

    def _items(self, stage: str) -> tuple[int, int, int]:
        """Items in front of a stage, in its running chunks, and all that it has still to finish with."""
        queue = flying = remaining = 0
        for one in self._working:
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
        each_s = {name: self._seconds_per_item(name) for name in STAGES}
        servers = {name: len(self._ready(name)) for name in STAGES}
        for flow in {one.outlook.flow for one in self._working}:
            params = decide_params(
                "", flow, min_chunk_s=here.min_chunk_s, max_chunk_s=here.max_chunk_s, seconds_per_item=each_s,
                servers=servers,
            )  # fmt: skip
            for stage in FLOWS[flow].stages:
                found[stage] = max(found.get(stage, 1), params.last_items or params.min_items)
        return found

    def _station(self, stage: str) -> Station:
        queue, flying, remaining = self._items(stage)
        chunks = self.airflow.chunks.get(stage, ChunksNow())
        number = chunks.scheduled + chunks.queued + chunks.running
        size = (queue + flying) / number if number else STAGES[stage].batch_size
        ready = self._ready(stage)
        # What was measured for less than half a minute is about to change.
        paces = [rate for rate, over_s in map(self._pace_at_work, ready) if over_s >= RECENT_S / 2]
        each_s = as_it_goes(self._seconds_per_item(stage), len(paces), sum(paces), bool(queue))
        return Station(len(ready), each_s, remaining, max(1.0, size), self._last_items.get(stage, math.inf))

    def _stage(self, name: str) -> StageNow:
        station, chunks = self._stations[name], self.airflow.chunks.get(name, ChunksNow())
        there, ready = [one for one in self.servers if one.stage == name], self._ready(name)
        fenced = [one for one in there if one.state is State.FENCED]
        queue, flying, remaining = self._items(name)
        lanes, into = sum(one.lanes for one in ready), self._per_s_in(name)
        per_s = sum(self._per_s(one) for one in there)
        return StageNow(
            stage=name, summary=STAGES[name].summary, model=STAGES[name].model,
            servers=Servers(
                ready=len(ready), fenced=len(fenced), other=len(there) - len(ready) - len(fenced)
            ),
            lanes=Lanes(
                busy=chunks.running, idle=max(0, lanes - chunks.running),
                fenced=sum(one.lanes for one in fenced),
            ),
            waiting=Waiting(
                scheduler=chunks.scheduled, broker=self.queued.get(name, 0), put_back=chunks.put_back,
                paused=chunks.paused,
            ),
            running=chunks.running, items_waiting=queue, items_in_flight=flying, items_remaining=remaining,
            items_per_s_in=round(into, 4), items_per_s_out=round(per_s, 4),
            seconds_per_item=round(self._seconds_per_item(name), 6),
            item_s=_quantiles(self.measured.item_s.get(name)),
            chunk_s=_quantiles(self.measured.chunk_s.get(name)),
            utilisation=self._utilisation(name, ready),
            wait=Wait(
                expected_s=finite(_wait_s(station, queue, into, per_s)), measured_s=chunks.waited_s,
                longest_s=chunks.longest_s,
            ),
            why_none=waiting(there, [name]).get(name, ""), time_left_s=finite(station.busy_s),
            fewer=self._what_if(name, -1) if station.servers else None, more=self._what_if(name, 1),
        )  # fmt: skip

    def _utilisation(self, stage: str, ready: Sequence[ServerStatus]) -> float | None:
        if not ready:
            return None
        usual_s, average_s = self.rates.get(stage, {}), self._seconds_per_item(stage)
        shares = [utilisation(self._per_s(one), usual_s.get(one.worker, average_s), 1) for one in ready]
        return round(sum(shares) / len(shares), 4)

    def _what_if(self, name: str, step: int) -> WhatIf:
        changed = with_servers(self._stations, name, self._stations[name].servers + step)
        seconds, longest = time_left(changed, self._paths)
        now_s, _ = self.left
        known = now_s and math.isfinite(now_s)
        return WhatIf(
            servers=changed[name].servers, time_left_s=finite(seconds),
            change=finite(seconds / now_s - 1) if known else None,
            wait_s=finite(_wait_s(changed[name], self._items(name)[0], self._per_s_in(name))),
            bottleneck=longest,
        )  # fmt: skip

    def _per_s_in(self, stage: str) -> float:
        """Items a second that the stage before hands on, or that were planned within the last minute."""
        per_s = 0.0
        for one in self._working:
            names, seen = FLOWS[one.outlook.flow].stages, one.snapshot
            position = names.index(stage) if stage in names else -1
            if position > 0:
                per_s += one.outlook.stages[position - 1].items_per_s
            elif position == 0:
                per_s += sum(p.items for p in seen.plans if seen.seen - p.begun <= RECENT_S) / RECENT_S
        return per_s


def finite(number: float) -> float | None:
    """Rounded; None where it is infinite, for JSON has no word for that."""
    return round(number, 4) if math.isfinite(number) else None


def _begun(batch: BatchSeen, host: HostNow) -> float:
    """Since when a host's pace was measured, in epoch seconds."""
    return batch.snapshot.seen - host.over_s


def _wait_s(station: Station, queue: int, into: float, per_s: float = 0.0) -> float:
    """Little's law while items wait; with none, the wait in front of servers that keep up."""
    if not station.servers:
        return math.inf
    if queue:
        return littles_wait_s(queue, per_s or station.items_per_s)
    chunk_s = station.chunk_items * station.seconds_per_item
    return steady_wait_s(into / station.chunk_items, chunk_s, station.servers)


def _quantiles(counts: Counter[int] | None) -> Quantiles | None:
    if not counts:
        return None
    p50, p95 = (round(quantile(counts, share), 4) for share in (0.5, 0.95))
    return Quantiles(count=counts.total(), p50=p50, p95=p95)
