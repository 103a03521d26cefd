"""Commands and conditions, and what has been proven so far."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
"""Of podman, where there is no systemd."""

started = time.monotonic()
proven: list[str] = []


def say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", flush=True)


def prove(what: str) -> None:
    proven.append(what)
    say(f"PROVEN: {what}")


def run(command: Sequence[str], *, check: bool = True, **options: Any) -> str:
    """What a command prints; it ends all when it fails."""
    done = subprocess.run(
        list(command), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-4000:]}\nended with {done.returncode}")
    return done.stdout.strip()


def succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode == 0


def until(what: str, holds: Callable[[], bool], within_s: float, why: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {within_s} s: {what}\n{why()}")
        time.sleep(1)
