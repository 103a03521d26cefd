"""Processes of a stack whose supervisor is gone: after a crash, or `kill -9`."""

import signal
from collections.abc import Iterable

import psutil

from darkroom.stack.environment import MARK
from darkroom.stack.home import Home

_GRACE_S = 8.0


def find_leftovers(home: Home) -> list[psutil.Process]:
    """All processes that carry the mark of this state folder, but for this one and its ancestors."""
    ours = {p.pid for p in (psutil.Process(), *psutil.Process().parents())}
    return [p for p in psutil.process_iter() if p.pid not in ours and _belongs(p, home)]


def end_leftovers(home: Home, grace_s: float = _GRACE_S) -> int:
    """End them, PostgreSQL by its fast shutdown, and kill what is left after `grace_s`.

    Returns:
        How many there were.
    """
    found = find_leftovers(home)
    # A supervisor that is alive but deaf would restart what we end.
    _signal((p for p in found if _is(p, "supervisord")), signal.SIGKILL)
    postgres = [p for p in found if _is(p, "/postgres")]
    _signal(postgres, signal.SIGINT)
    _signal((p for p in found if p not in postgres), signal.SIGTERM)
    psutil.wait_procs(found, grace_s)
    rest = find_leftovers(home)
    _signal(rest, signal.SIGKILL)
    psutil.wait_procs(rest, grace_s)
    return len(found)


def _belongs(process: psutil.Process, home: Home) -> bool:
    try:
        return process.environ().get(MARK) == str(home.path)
    except (psutil.Error, OSError):
        return False


def _is(process: psutil.Process, program: str) -> bool:
    try:
        return any(program in argument for argument in process.cmdline()[:3])
    except psutil.Error:
        return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
