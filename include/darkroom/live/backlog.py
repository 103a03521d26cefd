"""Hours of work that wait, and whether there is room for more.

An item of a batch waits for every stage that has not finished with it. What a stage has before it takes
`items * seconds_per_item / servers`; stages work side by side, so the longest queue counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypedDict

from darkroom.errors import PlantFull
from darkroom.fleet.servers import Fleet, FleetUnknown
from darkroom.flows import FLOWS, STAGES
from darkroom.live.progress import Progress
from darkroom.live.rates import Rates
from darkroom.serving.status import State


@dataclass(frozen=True, slots=True)
class Backlog:
    """Work that waits, in seconds on the servers that are there."""

    seconds: float = 0.0
    """Of the stage with the longest queue."""
    by_stage: dict[str, float] = field(default_factory=dict)
    by_batch: dict[str, float] = field(default_factory=dict)
    """As if each were alone."""


def weigh(
    remaining: Mapping[str, Mapping[str, int]],
    seconds_per_item: Mapping[str, float],
    servers: Mapping[str, int],
) -> Backlog:
    """Add up what waits.

    Args:
        remaining: per batch and stage, the items that the stage has still to finish with.
        seconds_per_item: per stage, on an average server.
        servers: per stage; 0 counts as 1, as work that nobody does has no length.
    """
    by_stage: dict[str, float] = {}
    by_batch: dict[str, float] = {}
    for batch_id, items in remaining.items():
        needs = {stage: n * seconds_per_item[stage] / max(1, servers[stage]) for stage, n in items.items()}
        by_batch[batch_id] = max(needs.values(), default=0.0)
        for stage, seconds in needs.items():
            by_stage[stage] = by_stage.get(stage, 0.0) + seconds
    return Backlog(max(by_stage.values(), default=0.0), by_stage, by_batch)


def backlog(progress: Progress, rates: Rates, fleet: Fleet) -> Backlog:
    """What waits now; without Redis, nothing is known to wait."""
    remaining: dict[str, dict[str, int]] = {}
    for batch_id in progress.active():
        seen = progress.read(batch_id)
        if seen.flow in FLOWS:  # else it expired, or its flow was taken out of darkroom.toml
            remaining[batch_id] = {stage: seen.remaining(stage) for stage in FLOWS[seen.flow].stages}
    stages = {stage for items in remaining.values() for stage in items}
    ready = ready_servers(fleet)
    return weigh(
        remaining,
        {stage: seconds_per_item(rates, stage) for stage in stages},
        {stage: ready.get(stage) or STAGES[stage].servers for stage in stages},
    )


def seconds_per_item(rates: Rates, stage: str) -> float:
    """Of an average server: measured, else as the stage table has it."""
    measured = rates.read(stage, STAGES[stage].model)
    if not measured:
        return STAGES[stage].seconds_per_item
    # What counts is how much the servers do together: the slowest takes long for few items.
    return len(measured) / sum(1 / rate.seconds_per_item for rate in measured.values())


def ready_servers(fleet: Fleet) -> dict[str, int]:
    """Ready servers by stage; none where Redis does not answer."""
    ready: dict[str, int] = {}
    try:
        servers = fleet.servers()
    except FleetUnknown:
        return ready
    for server in servers:
        if server.state is State.READY:
            ready[server.stage] = ready.get(server.stage, 0) + 1
    return ready


class Speeds(TypedDict):
    """What a plan is cut by, as `plan_batch` takes it."""

    rates: dict[str, float]
    """Seconds per item of an average server, by stage."""
    servers: dict[str, int]
    """Ready ones, by stage; a stage that has none is not in it."""


def speeds(redis_url: str) -> Speeds:
    """What the plant can do now; without a Redis, what the stage table says."""
    rates = Rates(redis_url)
    return {
        "rates": {stage: seconds_per_item(rates, stage) for stage in STAGES},
        "servers": ready_servers(Fleet(redis_url)),
    }


def refuse_when_full(waiting: Backlog, limit_h: float, now: datetime | None = None) -> None:
    """Take no more work while what waits takes longer than `limit_h` hours; 0 is no limit.

    Raises:
        PlantFull: it does; with the wait, when to come back, and how to insist.
    """
    over_s = waiting.seconds - limit_h * 3600
    if not limit_h or over_s <= 0:
        return
    back = (now or datetime.now().astimezone()) + timedelta(seconds=over_s)
    raise PlantFull(
        f"{waiting.seconds / 3600:,.1f} hours of work wait already, in {len(waiting.by_batch)} batches; "
        f"max_backlog_hours is {limit_h:g}. Come back at {back:%Y-%m-%d %H:%M %Z} or later, or insist "
        'with --force (in a run\'s conf: {"force": true}); see: darkroom batches'
    )
