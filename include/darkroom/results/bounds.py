"""How fast a stage could have been on the hosts it had. Pure: no I/O."""

from collections.abc import Mapping


def lower_bound_s(hosts: Mapping[str, tuple[int, float]]) -> float:
    """The least time in which these hosts could have done all of this work, had they shared it perfectly.

    A host that did `items` in `busy_s` of computing does `items / busy_s` a second. Working all the time,
    all together, they need the sum of the items over the sum of these rates; no assignment of the same
    items to the same hosts ends earlier. A host that came late or died counts as if it had been there
    throughout, so what was really possible lies above the bound, never below it.

    Args:
        hosts: per host the items it computed and the seconds it computed on them.

    Returns:
        Seconds; 0 where nothing was computed, or where a host's items took no measurable time.
    """
    worked = [(items, busy_s) for items, busy_s in hosts.values() if items > 0]
    if not worked or any(busy_s <= 0 for _, busy_s in worked):
        return 0.0
    return sum(items for items, _ in worked) / sum(items / busy_s for items, busy_s in worked)
