"""What the parts of the running plant cost: CPU time and memory, their children with them."""

from collections.abc import Iterable, Mapping

import psutil

from darkroom.stack.home import Home
from darkroom.stack.supervisor import Supervisor

SERVER = "server"


def cpu_s() -> dict[str, float]:
    """CPU seconds so far by part, user and system, with all children that live or have ended."""
    return {name: _cpu_s(pid) for name, pid in _pids().items()}


def memory_mb(part: str) -> float:
    """Resident memory of a part and its children."""
    return round(sum(process.memory_info().rss for process in _tree(_pids()[part])) / 2**20, 1)


def used_s(
    before: Mapping[str, float], after: Mapping[str, float], idle: Mapping[str, float], wall_s: float
) -> dict[str, float]:
    """CPU seconds between two looks by kind of part, less what they use idle in that time.

    Args:
        before: first look.
        after: second look.
        idle: by part, CPU seconds a second.
        wall_s: between the looks.

    Returns:
        Workers as one kind, servers left out: they are not orchestration. Never below 0.
    """
    used: dict[str, float] = {}
    for part in after:
        kind = kind_of(part)
        if kind != SERVER:
            net_s = after[part] - before.get(part, 0.0) - idle.get(part, 0.0) * wall_s
            used[kind] = used.get(kind, 0.0) + net_s
    return {kind: max(0.0, seconds) for kind, seconds in used.items()}


def kind_of(part: str) -> str:
    """`worker` of `worker-generate-1`; those of the light tasks stay apart."""
    if part == "worker-default":
        return "worker, light tasks"
    kind = part.partition("-")[0]
    return {"worker": "workers, chunks", "server": SERVER}.get(kind, part)


def _pids() -> dict[str, int]:
    return {name: found.pid for name, found in Supervisor(Home.current()).processes().items() if found.pid}


def _tree(pid: int) -> Iterable[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_s(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # Of children that have ended and were waited for, the parent has the times; of others they have.
        total += times.user + times.system + times.children_user + times.children_system
    return total
