"""Who keeps this process: without the command and the process manager it belongs to, it must not go on.

`darkroom worker` that is killed can end nothing itself; its servers would hold their GPUs until somebody
looks. So a supervisor of a server watches both.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

OWNER_ENV = "DARKROOM_OWNER"
"""The pid of the command that this process shall not outlive; not set by `darkroom up`, which returns."""
_MANAGED_ENV = "SUPERVISOR_ENABLED"
"""Set by supervisord for what it starts."""
_LOOK_S = 1.0

log = logging.getLogger("keeper")


def watch(drain_marker: Path, stop: Callable[[], None]) -> None:
    """Watch from a thread, until the process ends.

    Without its owner, chunks are asked to stop, and the process manager to end all: workers first, then
    servers. Without the process manager, `stop` is called, as nobody else will.
    """
    if _MANAGED_ENV in os.environ:
        owner = int(os.environ.get(OWNER_ENV) or 0)
        arguments = (_process(owner) if owner else None, bool(owner), os.getppid(), drain_marker, stop)
        threading.Thread(target=_watch, args=arguments, daemon=True, name="keeper").start()


def _watch(
    owner: psutil.Process | None, owned: bool, manager_pid: int, drain_marker: Path, stop: Callable[[], None]
) -> None:
    told = False
    while os.getppid() == manager_pid:
        if owned and not told and not _lives(owner):
            log.error("`darkroom worker` has ended without ending this: draining")
            _mark(drain_marker)
            os.kill(manager_pid, signal.SIGTERM)
            told = True
        time.sleep(_LOOK_S)
    log.error("the process manager has ended: stopping")
    stop()


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _lives(process: psutil.Process | None) -> bool:
    try:
        # Its pid may be another's by now, and a zombie does nothing any more.
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _mark(drain_marker: Path) -> None:
    try:
        drain_marker.write_text("written as `darkroom worker` was killed\n")
    except OSError as error:  # chunks then end when their servers refuse them
        log.warning("no drain marker: %s", error)
