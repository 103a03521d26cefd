import os
import subprocess
import sys

import psutil
import pytest

from darkroom.stack.environment import MARK
from darkroom.stack.home import Home
from darkroom.stack.leftovers import end_leftovers, find_leftovers

SLEEP = "import signal, sys; {}; print('ready', flush=True); signal.pause()"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.fixture
def spawn():
    started = []

    def start(code="pass", **env):
        process = subprocess.Popen(
            [sys.executable, "-c", SLEEP.format(code)],
            env=os.environ | env,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_carries_the_mark_of_the_folder_is_ended_even_if_it_does_not_listen(tmp_path, spawn):
    home = Home(tmp_path)
    mild, deaf = spawn(**{MARK: str(tmp_path)}), spawn(DEAF, **{MARK: str(tmp_path)})
    assert {p.pid for p in find_leftovers(home)} == {mild.pid, deaf.pid}
    assert end_leftovers(home, grace_s=0.5) == 2
    assert not psutil.pid_exists(mild.pid)
    assert not psutil.pid_exists(deaf.pid)


def test_another_stack_and_a_shell_with_our_home_are_left_alone(tmp_path, spawn):
    other = spawn(**{MARK: str(tmp_path / "other")})
    shell = spawn(DARKROOM_HOME=str(tmp_path))
    assert end_leftovers(Home(tmp_path)) == 0
    assert psutil.pid_exists(other.pid)
    assert psutil.pid_exists(shell.pid)
