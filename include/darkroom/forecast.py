"""When a batch will be done, with a range. Pure: no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.planning import SLOWEST, average_seconds_per_item

SPREAD = 0.1
"""How far the speed of a fleet may change before the end: chosen with `python -m bench.simulate`."""


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
    # A host that is slower still runs into its chunk's time budget, which is made for `SLOWEST`.
    slowest_s = min(max(host_seconds_per_item.values()), SLOWEST * average_s)
    last_chunk_s = lanes_per_server * min(largest_running_chunk_items, remaining) * slowest_s
    return Forecast(seconds, seconds * (1 - spread), max(seconds * (1 + spread), last_chunk_s))
