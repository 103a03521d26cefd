"""Who watches its keepers ends with them: real processes, killed as a crash would."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from darkroom.serving.keeper import OWNER_ENV
from darkroom.settings import REPOSITORY

WATCHED = """
import os, sys, threading
from pathlib import Path
from darkroom.serving.keeper import watch
stopped = threading.Event()
folder = Path(sys.argv[1])
watch(folder / "drain", stopped.set)
(folder / "pid").write_text(str(os.getpid()))
stopped.wait(60)
(folder / "stopped").touch()
"""
MANAGER = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
signal.sigwait([signal.SIGTERM])
open(sys.argv[2] + "/asked", "w").close()
signal.pause()
"""


@pytest.fixture
def owner():
    """Stands for `darkroom worker`."""
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def start(tmp_path, owner):
    """Starts a process manager with a watched process below it; `owned`: they know the owner."""
    begun = []

    def begin(*, owned: bool) -> subprocess.Popen:
        block = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])"
        env = os.environ | {"PYTHONPATH": str(REPOSITORY / "include"), "SUPERVISOR_ENABLED": "1"}
        env |= {OWNER_ENV: str(owner.pid)} if owned else {}
        command = [sys.executable, "-c", f"{block}\n{MANAGER}", WATCHED, str(tmp_path)]
        begun.append(subprocess.Popen(command, env=env))
        until((tmp_path / "pid").exists)
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()
    pid = tmp_path / "pid"
    if pid.exists() and psutil.pid_exists(int(pid.read_text() or 0)):
        os.kill(int(pid.read_text()), signal.SIGKILL)


def until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_when_its_owner_is_killed_chunks_are_asked_to_stop_and_the_manager_to_end(start, owner, tmp_path):
    start(owned=True)
    owner.kill()  # and nobody has waited for it: a zombie
    until((tmp_path / "asked").exists)
    assert (tmp_path / "drain").exists()
    assert not (tmp_path / "stopped").exists(), "the manager stops it, in its order"


def test_when_its_manager_is_killed_it_stops_itself(start, tmp_path: Path):
    start(owned=False).kill()
    until((tmp_path / "stopped").exists)
    assert not (tmp_path / "drain").exists()
