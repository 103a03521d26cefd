"""Whose fault it is when everything fails: the host's, rather than that of all the items.

Doubted, a host gives its chunk to another before any item is blamed; whether it is also a strike against the
host depends on how the others do with the same batch. Pure.
"""

from collections.abc import Callable, Iterable, Sequence

from darkroom.errors import BatchSuspect, HostSuspect, StageFailed
from darkroom.live.snapshot import HostNow
from darkroom.records import Result

MISHAPS = 4
"""So many failures in a row are no mishap."""


def doubt(
    latest: Sequence[Result], host: str, others: Callable[[], Iterable[HostNow]], *, ended: bool = False
) -> None:
    """Look at what a host came to lately.

    Args:
        latest: its latest outcomes in a row, or all so far where they are fewer.
        host: its name.
        others: how the other hosts do with the same stage of the same batch; asked only when some failed.
        ended: these are the last of their chunk: a host that has broken in its last batch has had no time to
            fail on more.

    Raises:
        HostSuspect: the stage failed on all of them; the others do better, or nobody knows.
        BatchSuspect: it failed on all, but it fails elsewhere too, or they are too few to tell; or the chunk
            has ended with failures, and no other host has had one.
    """
    failed = [row for row in latest if row.error is not None and row.error.code == StageFailed.code]
    if not failed or (len(failed) < len(latest) and not ended):
        return
    seen = list(others())
    do_well = any(other.counts.done + other.counts.rejected for other in seen)
    fail_too = any(other.counts.failed for other in seen)
    said = f"{len(failed)} of the latest {len(latest)} items failed on {host}: {failed[-1].error}"
    if len(failed) == len(latest):
        raise (HostSuspect if do_well or (len(latest) >= MISHAPS and not fail_too) else BatchSuspect)(said)
    if not fail_too:
        raise BatchSuspect(said)
