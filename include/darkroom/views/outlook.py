"""One batch in numbers: what `darkroom watch` draws and `darkroom show --json` prints. Pure.

The fields are the keys of that JSON object.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.flows import FLOWS, STAGES
from darkroom.live.snapshot import RECENT_S, HostNow, Snapshot
from darkroom.live.told import Counts
from darkroom.views.forecast import Forecast, forecast

FINAL = ("success", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage of a batch."""

    stage: str
    planned: int
    """Items of the first round."""
    done: int
    rejected: int
    failed: int
    """With those whose time has passed: `timed_out`."""
    in_flight: int
    again: int
    """Items finished with in the rounds after the first."""
    remaining: int
    """Over all rounds that are planned; those in flight are among them."""
    items_per_s: float
    """Of its hosts together, over the last minute."""
    waits: str
    """Why nobody works on it though items wait; else empty."""


@dataclass(frozen=True, slots=True)
class HostView:
    """One server that has worked on a batch."""

    host: str
    stage: str
    done: int
    rejected: int
    failed: int
    in_flight: int
    items_per_s: float
    """Over the last minute."""
    share: float
    """Of the items that its stage has computed for this batch: 0 to 1."""
    seconds_per_item: float | None
    """Of its model's time, for this batch; before its first item, as measured in others; None: not yet."""
    time_left_s: Forecast | None
    """Until it has done the chunks that it has now; then it takes others, so that all end together. None: it
    has none."""
    doing: str
    """The chunks it runs, or why it runs none."""
    updated: float
    """When it last told something, in epoch seconds."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """One look at a batch."""

    batch_id: str
    flow: str
    state: str
    """planning, queued, running, paused, cancelled, success or failed."""
    items: int | None
    """Planned; null before the plan is committed."""
    rejects: int
    """Lines of the source that are not items: see rejects.jsonl."""
    chunks: int
    """In all rounds."""
    shards: int
    """Runs that share the first round's chunks."""
    round: int
    """The last that is planned: 0 is the first, the others are respins and leftovers."""
    begun: float | None
    """When it was planned, in epoch seconds."""
    stages: tuple[StageView, ...]
    hosts: tuple[HostView, ...]
    time_left_s: Forecast | None
    """`seconds`, and the range from `low` to `high`; null when it is unknown, or when a stage waits."""
    seen: float
    """When this look was taken, in epoch seconds."""

    @property
    def waits(self) -> list[str]:
        """What keeps its stages waiting, a sentence each."""
        return [
            f"waits: no ready server of stage {stage.stage} ({stage.waits})"
            for stage in self.stages
            if stage.waits
        ]


def outlook(
    batch_id: str,
    state: str,
    flow: str,
    seen: Snapshot,
    measured: Mapping[str, Mapping[str, float]],
    waiting: Mapping[str, str],
) -> Outlook:
    """What there is to say of a batch.

    Args:
        batch_id: its name.
        state: of its run, or what a person has asked for.
        flow: its flow's name.
        seen: what its chunks told.
        measured: seconds per item by stage and host, from all batches.
        waiting: the stages without a ready server, and why.
    """
    names = FLOWS[flow].stages
    computed: Counter[str] = Counter()
    for host in seen.hosts:
        computed[host.stage] += host.computed
    stages = tuple(_stage(seen, name, "" if state in FINAL else waiting.get(name, "")) for name in names)
    return Outlook(
        batch_id=batch_id,
        flow=flow,
        state=state,
        items=seen.items,
        rejects=seen.rejects,
        chunks=sum(plan.chunks for plan in seen.plans),
        shards=seen.plans[0].shards if seen.plans else 0,
        round=seen.plans[-1].round if seen.plans else 0,
        begun=seen.plans[0].begun if seen.plans else None,
        stages=stages,
        hosts=tuple(
            _host(seen, host, measured.get(host.stage, {}), computed[host.stage]) for host in seen.hosts
        ),
        time_left_s=None if state in (*FINAL, "paused") else _time_left(seen, stages, measured),
        seen=seen.seen,
    )


def _stage(seen: Snapshot, name: str, waits: str) -> StageView:
    counts = seen.stages.get(name, Counts())
    hosts = [host for host in seen.hosts if host.stage == name]
    remaining = seen.remaining(name)
    tells = any(host.chunks and seen.seen - host.updated < RECENT_S for host in hosts)
    return StageView(
        stage=name,
        planned=seen.items or 0,
        done=counts.done,
        rejected=counts.rejected,
        failed=counts.failed,
        in_flight=seen.in_flight.get(name, 0),
        again=seen.respins.get(name, Counts()).total,
        remaining=remaining,
        items_per_s=round(sum(host.items_per_s for host in hosts), 4),
        waits=waits if remaining and not tells else "",
    )


def _host(seen: Snapshot, host: HostNow, measured: Mapping[str, float], all_computed: int) -> HostView:
    return HostView(
        host=host.host,
        stage=host.stage,
        done=host.counts.done,
        rejected=host.counts.rejected,
        failed=host.counts.failed,
        in_flight=host.in_flight,
        items_per_s=round(host.items_per_s, 4),
        share=round(host.computed / all_computed, 4) if all_computed else 0.0,
        seconds_per_item=_seconds_per_item(host, measured),
        time_left_s=_host_left(host, measured),
        doing=_doing(host, seen.seen),
        updated=host.updated,
    )


def _seconds_per_item(host: HostNow, measured: Mapping[str, float]) -> float | None:
    if host.computed and host.busy_s:
        return round(host.busy_s / host.computed, 4)
    return measured.get(host.host)


def _host_left(host: HostNow, measured: Mapping[str, float]) -> Forecast | None:
    if not host.chunks or host.stage not in STAGES:
        return None
    return forecast(host.in_flight, {host.host: _now_s(host, measured)})


def _now_s(host: HostNow, measured: Mapping[str, float]) -> float:
    """Seconds per item at its pace of now; at the begin of a chunk, as it was measured before."""
    if host.chunks and host.items_per_s and host.over_s >= RECENT_S / 2:
        return 1 / host.items_per_s
    return _seconds_per_item(host, measured) or STAGES[host.stage].seconds_per_item


def _works(host: HostNow, seen: float) -> bool:
    """Whether it runs a chunk, or is between two."""
    return bool(host.chunks) or (not host.reasons and seen - host.updated < RECENT_S)


def _doing(host: HostNow, seen: float) -> str:
    if host.chunks:
        silent_s = seen - host.updated
        told = f", silent for {silent_s:.0f} s" if silent_s > RECENT_S else ""
        return f"chunk {', '.join(host.chunks)}{told}"
    return "; ".join(host.reasons) or "idle"


def _time_left(
    seen: Snapshot, stages: tuple[StageView, ...], measured: Mapping[str, Mapping[str, float]]
) -> Forecast | None:
    """Stages work side by side, so the one that needs longest decides.

    A stage where nobody works though servers are ready has its turn still before it, after the others.
    """
    if not seen.plans or any(stage.waits for stage in stages):
        return None
    left = [_stage_left(seen, stage, measured.get(stage.stage, {})) for stage in stages]
    known = [one for one in left if one is not None]
    if not any(one.seconds for one in known) and any(stage.remaining for stage in stages):
        return None
    return Forecast(*(max(getattr(one, name) for one in known) for name in ("seconds", "low", "high")))


def _stage_left(seen: Snapshot, stage: StageView, measured: Mapping[str, float]) -> Forecast | None:
    hosts = [host for host in seen.hosts if host.stage == stage.stage and _works(host, seen.seen)]
    return forecast(
        stage.remaining,
        {host.host: _now_s(host, measured) for host in hosts},
        max((host.largest_chunk for host in hosts), default=0),
        lanes_per_server=STAGES[stage.stage].lanes_per_server,
    )
