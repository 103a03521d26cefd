"""Looks at the whole plant: asks Redis what servers, chunks and batches tell, by a dozen calls in all."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import redis

from darkroom.fleet.servers import FleetUnknown, waiting
from darkroom.flows import DEFAULT_FLOW, FLOWS, STAGES
from darkroom.live.connection import TIMEOUT_S
from darkroom.live.meter import SLOT_S, Measured, Meter
from darkroom.live.snapshot import RECENT_S, Snapshot
from darkroom.serving.status import ServerStatus
from darkroom.views.bottleneck import NOBODY_KNOWS, bottleneck
from darkroom.views.figures import Figures, finite
from darkroom.views.looking import Lookout, state_of
from darkroom.views.outlook import outlook
from darkroom.views.overview import BatchNow, Overview, PictureNow
from darkroom.views.stations import Airflow, BatchSeen, Stations

ENDED_FOR_S = 900.0
"""So long a batch is still shown when it has ended."""
HOSTS = 10
"""Of a batch: a thousand lanes may have had a hand in each of a hundred."""
SHOWN = 100
"""Batches that have not ended; more are counted, and not shown one by one."""
_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""Kombu keeps a list for each priority of a queue, the default's without a suffix."""


class Surveyor:
    """Looks at one plant."""

    def __init__(self, redis_url: str, broker_url: str) -> None:
        """The Redis of what is live, and Celery's broker; who has an empty URL is not asked."""
        self._lookout, self._meter = Lookout.at(redis_url), Meter(redis_url)
        self._broker = (
            redis.Redis.from_url(broker_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
            if broker_url
            else None
        )

    def look(self, airflow: Airflow) -> Overview:
        """The plant now."""
        seen, clock = time.time(), time.monotonic()
        unknown: list[str] = []
        servers: list[ServerStatus] = []
        lookout, meter = self._lookout, self._meter
        try:
            servers = lookout.fleet.servers()
        except FleetUnknown:  # nobody shall wait for a dozen time-outs
            unknown.append("redis")
            lookout, meter = Lookout.at(""), Meter("")
        if (queued := self._queued()) is None:
            unknown.append("broker")
        rates = {
            stage.name: {
                host: rate.seconds_per_item
                for host, rate in lookout.rates.read(stage.name, stage.model).items()
            }
            for stage in STAGES.values()
        }
        batches, measured = _batches(lookout, airflow, servers, rates), meter.read(seen)
        plant = Stations(airflow, servers, batches, rates)
        figures = Figures(plant, queued or {}, measured)
        open_ones = sorted(name for name, one in batches.items() if one.ended is None)
        over = [name for name, one in batches.items() if one.ended is not None]
        running = sum(one.works for one in batches.values())
        seconds, longest = plant.left
        return Overview(
            seen=seen,
            unknown=unknown,
            bottleneck=NOBODY_KNOWS
            if "redis" in unknown
            else bottleneck(figures.stages, running, finite(seconds), longest),
            stages=figures.stages,
            batches=[_batch(name, batches[name], airflow, measured) for name in (*open_ones[:SHOWN], *over)],
            batches_left_out=max(0, len(open_ones) - SHOWN),
            servers=[figures.server(one) for one in sorted(servers, key=lambda s: (s.stage, s.host, s.name))],
            last_progress=max((one.snapshot.updated for one in batches.values()), default=0.0) or None,
            slots=list(measured.slots),
            slot_s=SLOT_S,
            pictures=[PictureNow.model_validate(one) for one in meter.pictures()],
            took_s=round(time.monotonic() - clock, 4),
        )

    def _queued(self) -> dict[str, int] | None:
        """Chunks in the broker, by stage; None where it does not answer."""
        if self._broker is None:
            return None
        pipe = self._broker.pipeline(transaction=False)
        queues = [
            (stage.name, queue) for stage in STAGES.values() for queue in (stage.queue, stage.now_queue)
        ]
        lists = [(stage, queue + suffix) for stage, queue in queues for suffix in _PRIORITIES]
        for _, name in lists:
            pipe.llen(name)
        found: dict[str, int] = defaultdict(int)
        try:
            for (stage, _), length in zip(lists, pipe.execute(), strict=True):
                found[stage] += length
        except redis.RedisError:
            return None
        return found


def _batches(
    lookout: Lookout,
    airflow: Airflow,
    servers: Sequence[ServerStatus],
    rates: Mapping[str, Mapping[str, float]],
) -> dict[str, BatchSeen]:
    """Those that have not ended, and after them those that ended lately, the newest first."""
    progress = lookout.progress
    active = sorted({*progress.active(), *airflow.runs})
    lately = progress.ended_lately(ENDED_FOR_S)
    ended = {name: when for name, when in lately.items() if name not in active}
    wishes, why = lookout.control.states(active), waiting(servers, STAGES)
    found: dict[str, BatchSeen] = {}
    for name, seen in progress.read_all([*active, *ended]).items():
        run = airflow.runs.get(name)
        flow = seen.flow or (run.conf.get("flow", DEFAULT_FLOW) if run else "")
        run_state = run.state if run else seen.ended or _state(seen)
        # Its flow may have been taken out of darkroom.toml, and a run may have gone without a word.
        if flow in FLOWS and run_state:
            state = state_of(run_state, wishes.get(name, ""), seen)
            look = outlook(name, state, flow, seen, rates, why)
            found[name] = BatchSeen(look, seen, ended.get(name))
    return found


def _state(seen: Snapshot) -> str:
    """Of a batch that no run of `image_flow` works on: another DAG may have its chunks at work."""
    return "running" if seen.seen - seen.updated <= RECENT_S else ""


def _batch(name: str, one: BatchSeen, airflow: Airflow, measured: Measured) -> BatchNow:
    run = airflow.runs.get(name)
    nothing = [0] * len(measured.slots)
    per_s = {
        stage.stage: [round(items / SLOT_S, 3) for items in measured.items.get((name, stage.stage), nothing)]
        for stage in one.outlook.stages
    }
    hosts = sorted(one.outlook.hosts, key=lambda host: -host.share)[:HOSTS]
    return BatchNow(
        outlook=replace(one.outlook, hosts=tuple(hosts)),
        hosts_left_out=len(one.outlook.hosts) - len(hosts),
        waits=one.outlook.waits,
        run_id=run.run_id if run else None,
        run_state=run.state if run else one.outlook.state,
        ended=one.ended,
        items_per_s=per_s,
    )
