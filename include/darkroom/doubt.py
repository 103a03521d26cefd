"""Whose fault it is when everything fails: the host's, rather than that of all the items.

Doubted, a host gives its chunk to another before any item is blamed; whether it is also a strike against the
host depends on how the others do with the same batch. Pure.
"""

from collections.abc import Callable, Iterable, Sequence

from darkroom.errors import BatchSuspect, HostSuspect, StageFailed
from darkroom.records import Result
from darkroom.snapshot import HostNow

MISHAPS = 4
"""So many failures in a row are no mishap."""


def doubt(latest: Sequence[Result], host: str, others: Callable[[], Iterable[HostNow]]) -> None:
    """Look at what a host came to lately.

    Args:
        latest: its latest outcomes in a row, or all so far where they are fewer.
        host: its name.
        others: how the other hosts do with the same stage of the same batch; asked only when all failed.

    Raises:
        HostSuspect: the stage failed on all of them; the others do better, or nobody knows.
        BatchSuspect: the same, but it fails elsewhere too, or it is too few to tell.
    """
    if not latest or any(row.error is None or row.error.code != StageFailed.code for row in latest):
        return
    seen = list(others())
    do_well = any(other.counts.done + other.counts.rejected for other in seen)
    fail_too = any(other.counts.failed for other in seen)
    kind = HostSuspect if do_well or (len(latest) >= MISHAPS and not fail_too) else BatchSuspect
    raise kind(f"{len(latest)} items in a row failed on {host}: {latest[-1].error}")
