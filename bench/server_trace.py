"""Where a fleet loses time, from the traces of its model servers: what a batch's excess is made of."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CANARY_S = 0.02
"""A batch of `bench/fleet` that takes no longer is a canary: it sleeps for none."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One batch that a server ran."""

    begun: float
    """Epoch seconds."""
    ended: float
    items: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun


def read_traces(folder: Path, stage: str, item_s: Mapping[str, float]) -> dict[str, list[Ran]]:
    """What each server ran, in order, canaries left out.

    A trace is named after its process, so it is that of the server whose seconds per item it comes nearest.
    """
    traces: dict[str, list[Ran]] = {server: [] for server in item_s}
    for file in folder.glob(f"{stage}-*"):
        # A process that was killed may have left half a line.
        lines = [line for line in file.read_text().splitlines() if line.endswith("]")]
        batches = [ran for ran in (Ran(*json.loads(line)) for line in lines) if ran.seconds > CANARY_S]
        if batches:
            took_s = statistics.median(ran.seconds / ran.items for ran in batches)
            nearest = min(item_s, key=lambda server: abs(math.log(took_s / item_s[server])))
            traces[nearest] += batches
    return {server: sorted(ran, key=lambda one: one.begun) for server, ran in traces.items()}


def losses(
    traces: Mapping[str, Sequence[Ran]], item_s: Mapping[str, float], items: int, begun: float, ended: float
) -> dict[str, float]:
    """What a batch from `begun` to `ended` lost, in shares of its lower bound: their sum is its excess.

    Each second of a server counts as the items that it could have done in it.

    Args:
        traces: what each server ran; what does not begin in between is not of this batch.
        item_s: what each needs for an item.
        items: of the batch.
        begun: epoch seconds.
        ended: epoch seconds.
    """
    lost = dict.fromkeys(
        ("before the first chunk", "between", "after the last chunk", "slow", "done again"), 0.0
    )
    done = 0
    for server, seconds in item_s.items():
        ran = [one for one in traces.get(server, ()) if begun <= one.begun < ended]
        first, last = (ran[0].begun, ran[-1].ended) if ran else (ended, ended)
        busy_s, count = sum(one.seconds for one in ran), sum(one.items for one in ran)
        lost["before the first chunk"] += (first - begun) / seconds
        lost["between"] += (last - first - busy_s) / seconds
        lost["after the last chunk"] += (ended - last) / seconds
        lost["slow"] += busy_s / seconds - count
        done += count
    lost["done again"] = done - items
    return {what: round(lost_items / items, 4) for what, lost_items in lost.items()}
