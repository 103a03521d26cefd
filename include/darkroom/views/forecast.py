"""When a batch will be done, with a range. Pure: no I/O."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.plans.planning import SLOWEST, average_seconds_per_item, time_budget_s

SPREAD = 0.1
"""How far the speed of a fleet may change before the end: `python -m bench.simulate` says how often the truth
then lies in the range."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds until the last item is done, from now."""

    seconds: float
    """If every host goes on as it does now and all end together."""
    low: float
    high: float
    """The time will most likely lie between these two."""


def forecast(
    remaining: int,
    host_seconds_per_item: Mapping[str, float],
    largest_running_chunk_items: int = 0,
    spread: float = SPREAD,
    lanes_per_server: int = 2,
) -> Forecast | None:
    """The time left for `remaining` items; None while no host works.

    Args:
        remaining: items that no host has finished, those in flight included.
        host_seconds_per_item: measured, of each host that works on them.
        largest_running_chunk_items: of the chunks at work now; the slowest host may just have taken it.
        spread: see `SPREAD`.
        lanes_per_server: that share a host, so each of their chunks takes as many times longer.
    """
    if remaining <= 0:
        return Forecast(0.0, 0.0, 0.0)
    if not host_seconds_per_item:
        return None
    average_s = average_seconds_per_item(host_seconds_per_item)
    seconds = remaining * average_s / len(host_seconds_per_item)
    slowest_s = max(host_seconds_per_item.values())
    last_chunk_s = lanes_per_server * min(largest_running_chunk_items, remaining) * slowest_s
    if slowest_s > SLOWEST * average_s:  # its chunk's budget ends it, once the item that it is at is done
        budget_s = time_budget_s(largest_running_chunk_items, average_s, lanes_per_server, math.inf)
        last_chunk_s = min(last_chunk_s, budget_s + lanes_per_server * slowest_s)
    return Forecast(seconds, seconds * (1 - spread), max(seconds * (1 + spread), last_chunk_s))
