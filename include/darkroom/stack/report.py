"""What each part is doing: its state, process, memory, and what it waits for."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil

from darkroom.stack.home import Home
from darkroom.stack.layout import Stack
from darkroom.stack.part import Part
from darkroom.stack.parts import parts
from darkroom.stack.supervisor import Process, Supervisor

_STATES = {
    "STOPPED": "stopped",
    "STOPPING": "stopping",
    "BACKOFF": "restarting",
    "EXITED": "restarting",
    "FATAL": "failed",
}


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One line of `darkroom status`."""

    name: str
    state: str
    """healthy, starting, waiting, restarting, failed, stopping, stopped."""
    pid: int | None
    memory_bytes: int
    """Of its processes together, shared pages counted once."""
    uptime_s: int
    waits_for: tuple[str, ...]
    """Other parts; or why it does not work."""


def stack_status(home: Home) -> list[PartStatus]:
    """All parts of a stack, running or not; every one that has a process is probed."""
    listed = parts(Stack.load(home))
    supervisor = Supervisor(home)
    processes = supervisor.processes() if supervisor.is_running() else {}
    gone = Process("STOPPED", 0, 0, "")
    known = {name: processes.get(name, gone) for name in listed}
    with ThreadPoolExecutor(max_workers=len(listed)) as pool:
        works = pool.map(lambda part: _works(part, known[part.name]), listed.values())
        healthy = dict(zip(listed, works, strict=True))
    return [_status(part, known[part.name], healthy) for part in listed.values()]


def _works(part: Part, process: Process) -> bool:
    return process.is_up and part.probe(process.started)


def _status(part: Part, process: Process, healthy: dict[str, bool]) -> PartStatus:
    missing = tuple(name for name in (*part.needs, *part.uses) if not healthy.get(name, True))
    if reason := "" if healthy[part.name] else part.fails():
        missing = (*missing, reason)
    state = _STATES.get(process.state, "starting")
    if healthy[part.name]:
        state, missing = "healthy", ()
    elif process.is_up and missing:
        state = "waiting"
    elif process.state == "STOPPED":
        missing = ()
    uptime_s = int(time.time() - process.started) if process.is_up else 0
    return PartStatus(part.name, state, process.pid or None, _memory_bytes(process.pid), uptime_s, missing)


def _memory_bytes(pid: int) -> int:
    if not pid:
        return 0
    try:
        root = psutil.Process(pid)
        return sum(_pss_bytes(process) for process in (root, *root.children(recursive=True)))
    except psutil.Error:
        return 0


def _pss_bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.Error:
        return 0
