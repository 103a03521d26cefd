"""Servers that a measurement starts for itself: one process each, on a free port, ended at the end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from darkroom.serving.client import StageClient

STARTS_WITHIN_S = 60


@dataclass(frozen=True)
class Server:
    """A server at work."""

    url: str
    pid: int


@contextmanager
def serving(module: str, *arguments: str, **environment: str) -> Iterator[Server]:
    """`python -m module --port ...`, from its first answered canary to the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", module, f"--port={port}", *arguments]
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        server = Server(f"http://127.0.0.1:{port}", process.pid)
        with StageClient(server.url, STARTS_WITHIN_S) as client:
            client.wait_until_healthy(STARTS_WITHIN_S)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
