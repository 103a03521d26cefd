"""The plant in numbers: of each stage and server, from one look at what they and their batches tell."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from darkroom.fleet.servers import waiting
from darkroom.flows import STAGES
from darkroom.live.meter import Measured, quantile
from darkroom.serving.status import ServerStatus, State
from darkroom.views.overview import (
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
from darkroom.views.queueing import (
    Station,
    littles_wait_s,
    steady_wait_s,
    time_left,
    utilisation,
    with_servers,
)
from darkroom.views.stations import ChunksNow, Stations


@dataclass(frozen=True)
class Figures:
    """One look at the plant."""

    plant: Stations
    queued: Mapping[str, int]
    """Chunks in the broker, by stage."""
    measured: Measured

    @cached_property
    def stages(self) -> list[StageNow]:
        """Its stages, in the order of the stage table."""
        return [self._stage(name) for name in self.plant.names]

    def server(self, one: ServerStatus) -> ServerNow:
        """A server and what it does."""
        does = self.plant.hosts.get((one.stage, one.worker), [])
        usual_s = self.plant.rates.get(one.stage, {}).get(one.worker)
        chunks = [
            ChunkAt(batch_id=batch.outlook.batch_id, chunk_id=chunk)
            for batch, host in does for chunk in host.chunks
        ]  # fmt: skip
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

    def _per_s(self, server: ServerStatus) -> float:
        return self.plant.pace(server)[0]

    def _stage(self, name: str) -> StageNow:
        station, chunks = self.plant.now[name], self.plant.airflow.chunks.get(name, ChunksNow())
        there, ready = [one for one in self.plant.servers if one.stage == name], self.plant.ready(name)
        fenced = [one for one in there if one.state is State.FENCED]
        queue, flying, remaining = self.plant.items(name)
        lanes, into = sum(one.lanes for one in ready), self.plant.per_s_in(name)
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
            seconds_per_item=round(self.plant.seconds_per_item(name), 6),
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
        usual_s, average_s = self.plant.rates.get(stage, {}), self.plant.seconds_per_item(stage)
        shares = [utilisation(self._per_s(one), usual_s.get(one.worker, average_s), 1) for one in ready]
        return round(sum(shares) / len(shares), 4)

    def _what_if(self, name: str, step: int) -> WhatIf:
        changed = with_servers(self.plant.now, name, self.plant.now[name].servers + step)
        seconds, longest = time_left(changed, self.plant.paths)
        now_s, _ = self.plant.left
        known = now_s and math.isfinite(now_s)
        return WhatIf(
            servers=changed[name].servers, time_left_s=finite(seconds),
            change=finite(seconds / now_s - 1) if known else None,
            wait_s=finite(_wait_s(changed[name], self.plant.items(name)[0], self.plant.per_s_in(name))),
            bottleneck=longest,
        )  # fmt: skip


def finite(number: float) -> float | None:
    """Rounded; None where it is infinite, for JSON has no word for that."""
    return round(number, 4) if math.isfinite(number) else None


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
