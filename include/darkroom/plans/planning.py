"""How a batch is cut into chunks, and which seed each item gets. Pure: no I/O.

Sizes follow capped factoring: early chunks are large, late ones small, so that fast and slow servers
finish together. Source: Hummel, Schonberg, Flynn, "Factoring", CACM 35(8), 1992.
"""

import hashlib
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from darkroom.flows import FLOWS, STAGES, Stage
from darkroom.records import SCHEMA_VERSION, Record

MAX_CHUNKS = 65_536
"""Chunks in one batch; above that they grow."""
MAX_CHUNK_ITEMS = 10_000
"""Items in one chunk, however fast: a task holds their results in memory until it writes its part."""
K = 12
"""How many chunks each server would get, were all as large as the next: docs/adr/0007 says why so many."""
K_ALONE = 4
"""The same where there is one server: nobody is slower than it."""
K_LAST = 6
"""The same of the last chunks, where those of `K` would be too small to be worth it: docs/adr/0007."""
LAST_SHRINK = 3
"""How many times smaller the last chunks get than the smallest before them."""
SLOWEST = 5
"""A server may be this many times slower than the average one and still end every chunk that it takes."""
SHARD_CHUNKS = 8
"""Chunks in one run of a flow of several stages, for each server: some four for each of its lanes. More only
wait for the stage before, and each that does costs Airflow's scheduler queries in each of its rounds, for
which everybody waits: docs/adr/0009."""
LEAST_SHARD_CHUNKS = 16
"""In one run, however few servers: to start another takes some seconds."""
START_S = 120
"""How much of a chunk's time budget is for a server that is still starting."""
_BEFORE_TIMEOUT = 0.9
"""A time budget ends at this share of Airflow's timeout, so that the last batch can end, too."""


class Params(Record):
    """Everything a plan derives from, fixed before the first cut: a second try makes the same plan."""

    fingerprint: str
    """Of the source."""
    flow: str
    seconds_per_item: Annotated[float, Field(gt=0)]
    """On one server, of the flow's slowest stage."""
    servers: Annotated[int, Field(ge=1)]
    """Of the stage that limits the flow."""
    k: Annotated[int, Field(ge=1)] = K
    """Chunks that each server would get if all were of the size of the next."""
    min_items: Annotated[int, Field(ge=1)]
    """Of the smallest chunk that is worth its scheduling, while there is other work."""
    last_items: Annotated[int, Field(ge=1)] | None = None
    """Of the last chunks: smaller, as at the end all wait for the slowest server. None: `min_items`."""
    cap_items: Annotated[int, Field(ge=1)]
    k_last: Annotated[int, Field(ge=1)] = K_LAST
    """As `k`, of the last chunks."""
    max_chunks: Annotated[int, Field(ge=1)] = MAX_CHUNKS
    """Above that they grow."""
    shard_chunks: Annotated[int, Field(ge=1)] = 256
    """Chunks in one run, at most: see `shards`."""
    models: dict[str, str]
    """Per stage: name and version of its weights."""
    schema_version: int = SCHEMA_VERSION

    def sizes(self, n_items: int) -> list[int]:
        """Items per chunk, as `chunk_sizes`."""
        return chunk_sizes(
            n_items, self.servers, self.k, self.min_items, self.cap_items, self.max_chunks, self.last_items,
            self.k_last,
        )  # fmt: skip


def decide_params(
    fingerprint: str,
    flow: str,
    *,
    min_chunk_s: float,
    max_chunk_s: float,
    shard_chunks: int = 256,
    k: int | None = None,
    seconds_per_item: Mapping[str, float] | None = None,
    servers: Mapping[str, int] | None = None,
) -> Params:
    """The parameters of a plan, from the stage table or, where given, from what was measured.

    Args:
        fingerprint: of the source.
        flow: name of the flow.
        min_chunk_s: a chunk shorter than this costs more to schedule than to run.
        max_chunk_s: a chunk longer than this is lost too expensively with its host.
        shard_chunks: the limit of `Params.shard_chunks`, which is less where a flow has several stages and
            few servers.
        k: see `Params.k`; by default enough for servers that are unequal, if there are several.
        seconds_per_item: measured rates per stage, over those of the table.
        servers: live servers per stage, over those of the table.
    """
    stages = [STAGES[name] for name in FLOWS[flow].stages]
    rates = {stage.name: (seconds_per_item or {}).get(stage.name, stage.seconds_per_item) for stage in stages}
    live = {stage.name: max(1, (servers or {}).get(stage.name, stage.servers)) for stage in stages}
    limiting = max(stages, key=lambda stage: rates[stage.name] / live[stage.name])
    # A chunk keeps its size through the flow, so its slowest stage decides how long it may get, and no server
    # of any stage may be cut off by the time budget only because it is slow.
    slowest_s = max(rates.values())
    cap_items = max(1, math.floor(min(
        MAX_CHUNK_ITEMS, max_chunk_s / slowest_s, *(_most_items(stage, rates[stage.name]) for stage in stages)
    )))  # fmt: skip
    min_items = min(cap_items, max(1, math.ceil(min_chunk_s / slowest_s)))
    alone = live[limiting.name] == 1
    if len(stages) > 1:
        shard_chunks = min(shard_chunks, max(LEAST_SHARD_CHUNKS, SHARD_CHUNKS * live[limiting.name]))
    return Params(
        fingerprint=fingerprint,
        flow=flow,
        seconds_per_item=slowest_s,
        servers=live[limiting.name],
        k=k or (K_ALONE if alone else K),
        min_items=min_items,
        last_items=min_items if alone else -(-min_items // LAST_SHRINK),
        cap_items=cap_items,
        shard_chunks=shard_chunks,
        models={stage.name: stage.model for stage in stages},
    )


def chunk_sizes(
    n_items: int,
    servers: int,
    k: int = K,
    min_items: int = 1,
    cap_items: int = 1_000_000,
    max_chunks: int = MAX_CHUNKS,
    last_items: int | None = None,
    k_last: int = K_LAST,
) -> list[int]:
    """Items per chunk, in the order they are to run; they add up to `n_items`.

    Each is `clamp(ceil(remaining / (k * servers)), min_items, cap_items)`, or less at the end: where
    `ceil(remaining / (k_last * servers))` is below `min_items` it is that, and `last_items` at least. Only
    the very last may be smaller. Where that makes more than `max_chunks`, all limits grow by the same,
    smallest sufficient factor (to the percent).

    Raises:
        ValueError: a limit is below 1, or the limits are the wrong way round.
    """
    last_items = min(last_items or min_items, min_items)
    if n_items < 0 or min(servers, k, k_last, min_items, last_items, max_chunks) < 1 or cap_items < min_items:
        raise ValueError(f"no chunks: {n_items=} {servers=} {k=} {min_items=} {cap_items=} {max_chunks=}")

    def cut(percent: int) -> list[int] | None:
        """The sizes with grown limits; None when they are too many."""
        last, low, high = (-(-size * percent // 100) for size in (last_items, min_items, cap_items))
        sizes: list[int] = []
        remaining = n_items
        while remaining:
            if len(sizes) == max_chunks:
                return None
            size = max(
                min(high, -(-remaining // (k * servers))), min(low, -(-remaining // (k_last * servers)))
            )
            sizes.append(size := min(remaining, max(last, size)))
            remaining -= size
        return sizes

    enough = 100
    while (sizes := cut(enough)) is None:
        enough *= 2
    # Larger limits never give more chunks, so bisecting finds the smallest percentage.
    too_little = enough // 2
    while enough > 100 and enough - too_little > 1:  # noqa: PLR2004 - 100 %: as they are
        middle = (too_little + enough) // 2
        fewer = cut(middle)
        if fewer is None:
            too_little = middle
        else:
            enough, sizes = middle, fewer
    return sizes


def shards(n_chunks: int, shard_chunks: int) -> list[range]:
    """Which chunks each run takes, by their position in the plan: none has more than `shard_chunks`.

    The first takes what does not fill a run, so that the last has the small tail of the factoring to itself.
    """
    first = n_chunks % shard_chunks
    bounds = [0, *range(first or shard_chunks, n_chunks + 1, shard_chunks)] if n_chunks else []
    return [range(begin, end) for begin, end in pairwise(bounds)]


def seed_for(batch_id: str, custom_id: str, respin: int = 0) -> int:
    """The seed of an item that brings none: 0..2**63-1, the same for ever and on every host."""
    # Neither id can hold a NUL, so no two triples give the same text.
    text = f"{batch_id}\0{custom_id}\0{respin}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def _most_items(stage: Stage, seconds_per_item: float) -> float:
    """Of a chunk that a server `SLOWEST` times slower than the average ends before Airflow's timeout."""
    longest_s = _BEFORE_TIMEOUT * stage.chunk_timeout_s - START_S
    return longest_s / (SLOWEST * stage.lanes_per_server * seconds_per_item)


def average_seconds_per_item(rates: Mapping[str, float]) -> float:
    """Seconds per item of an average server, from those of each: the harmonic mean, as speeds add up.

    Raises:
        ValueError: there is no server.
    """
    if not rates:
        raise ValueError("no rates")
    return len(rates) / sum(1 / rate for rate in rates.values())


def time_budget_s(n_items: int, seconds_per_item: float, lanes_per_server: int, timeout_s: float) -> float:
    """How long a chunk may take before it leaves the rest over.

    A server that is `SLOWEST` times slower than the average one ends its chunk in time, though its lanes
    share it; a server may have to start first. But done before Airflow's timeout, which would end it harshly.

    Args:
        n_items: in the chunk.
        seconds_per_item: of an average server, see `average_seconds_per_item`.
        lanes_per_server: that share a server.
        timeout_s: Airflow's `execution_timeout`.
    """
    slowest_s = SLOWEST * lanes_per_server * n_items * seconds_per_item
    return min(_BEFORE_TIMEOUT * timeout_s, START_S + slowest_s)
