"""What servers, work and waiting have to do with each other. Pure.

Sources: E. D. Lazowska, J. Zahorjan, G. S. Graham, K. C. Sevcik, *Quantitative System Performance* (1984):
utilization law and Little's law, chapter 3; asymptotic bounds, chapter 5. R. L. Graham, *Bounds on
Multiprocessing Timing Anomalies* (1969): list scheduling. A. O. Allen, *Probability, Statistics, and Queueing
Theory* (1990), section 5.3.5: the approximation of Allen and Cunneen, exact for M/M/m.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

MOST_GAPS = 10.0
"""Servers that always have work compute at least a tenth of the time, on the slowest of laptops."""


@dataclass(frozen=True, slots=True)
class Station:
    """A stage as a queue: servers that are alike, and chunks of items."""

    servers: int
    seconds_per_item: float
    """Of an average server, its two lanes together."""
    items: float = 0.0
    """That it has still to finish with."""
    chunk_items: float = 1.0
    """In a chunk, of those that are left."""
    last_items: float = math.inf
    """In the last chunks, which the planner cuts smallest; no more than in the others."""

    @property
    def items_per_s(self) -> float:
        """What it can do."""
        return self.servers / self.seconds_per_item

    @property
    def chunk_s(self) -> float:
        """Of a server that has a chunk for itself."""
        return min(self.chunk_items, self.items) * self.seconds_per_item

    @property
    def last_s(self) -> float:
        """The same of the last chunk: what all wait for."""
        return min(self.last_items, self.chunk_items, self.items) * self.seconds_per_item

    @property
    def busy_s(self) -> float:
        """Until it has finished with its items, if they are all there: infinite without a server.

        At least `items / items_per_s`, the bottleneck bound; the servers do not end together, though, as a
        chunk is not divided: they end within (1 - 1/servers) of the last chunk (Graham), half of that on
        average.
        """
        if self.items <= 0:
            return 0.0
        if not self.servers:
            return math.inf
        uneven_s = (1 - 1 / self.servers) / 2 * self.last_s
        return max(self.chunk_s, self.items / self.items_per_s + uneven_s)


def as_it_goes(seconds_per_item: float, servers: int, items_per_s: float, waits: bool) -> float:
    """What an item takes a server, with the gaps between items and chunks, where work is always there.

    Args:
        seconds_per_item: of the model's time.
        servers: that are ready.
        items_per_s: that they finish together.
        waits: whether items wait for them; else what they do says nothing of what they could do.
    """
    if not (waits and items_per_s > 0):
        return seconds_per_item
    # A server that has just come, or just hung, must not make all of them look many times slower.
    return min(max(servers / items_per_s, seconds_per_item), MOST_GAPS * seconds_per_item)


Path = Sequence[str]
"""The stages that a flow goes through."""


def time_left(stations: Mapping[str, Station], paths: Iterable[Path]) -> tuple[float, str | None]:
    """Seconds until all items have gone their way, and the stage that decides it; None: nothing is left.

    The stage that needs longest decides, as all work side by side; what it has done last has still to go
    through the stages behind it, a last chunk's time each.

    Args:
        stations: by stage.
        paths: of the flows that have items left.
    """
    best: tuple[float, str | None] = (0.0, None)
    behind: dict[str, float] = {}
    for path in paths:
        for position, name in enumerate(path):
            rest_s = sum(stations[later].last_s for later in path[position + 1 :])
            behind[name] = max(behind.get(name, 0.0), rest_s)
    for name, rest_s in behind.items():
        busy_s = stations[name].busy_s
        if busy_s and busy_s + rest_s > best[0]:
            best = (busy_s + rest_s, name)
    return best


def with_servers(stations: Mapping[str, Station], name: str, servers: int) -> dict[str, Station]:
    """The stations, one of them with another number of servers."""
    return {**stations, name: replace(stations[name], servers=servers)}


def utilisation(items_per_s: float, seconds_per_item: float, servers: int) -> float:
    """The share of time in which `servers` are busy: U = X S, by the utilization law; at most 1."""
    return min(1.0, items_per_s * seconds_per_item / servers) if servers else 0.0


def littles_wait_s(waiting: float, per_s: float) -> float:
    """How long what comes now will wait: L = X W, by Little's law; infinite where nothing moves."""
    if not waiting:
        return 0.0
    return waiting / per_s if per_s > 0 else math.inf


def steady_wait_s(
    per_s: float, service_s: float, servers: int, cv2_arrivals: float = 1.0, cv2_service: float = 1.0
) -> float:
    """The mean wait in front of servers that keep up, by Allen and Cunneen; infinite where they don't.

    Args:
        per_s: arrivals.
        service_s: mean time of one on a server.
        servers: side by side.
        cv2_arrivals: squared coefficient of variation of the times between arrivals; 1: at random.
        cv2_service: of the service times; 0: all alike.
    """
    offered = per_s * service_s
    if offered >= servers:
        return math.inf
    mm_s = erlang_c(servers, offered) * service_s / (servers - offered)
    return mm_s * (cv2_arrivals + cv2_service) / 2


def erlang_c(servers: int, offered: float) -> float:
    """The probability that all of `servers` are busy, at an offered load below their number.

    By the recursion of Erlang's B formula, as factorials overflow at 171 servers.
    """
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))
