"""One resident model server: `python -m darkroom.serving.server --stage generate --port 8101`.

Mosec 0.9.8 around a stage: a Rust front for HTTP, queue and batches, and one worker process that holds
the model. What to know of it:

* Its only worker dying ends the whole server, with exit code 0 in mosec; here with 1. `supervisor.py`
  starts it again.
* SIGTERM: new requests get 503, those in flight finish, exit 0. But a worker that hangs ignores SIGTERM
  and the main process waits for it, so whoever stops a server must be ready to send SIGKILL.
* SIGKILL to the main process: the worker notices within a second and ends the front (`worker.py`).
* `GET /` says 200 while a worker hangs; only an answered canary says that it works.
* A batch has one HTTP status: errors of items travel in their frames.
* Its queue is first in, first out: who can't wait for it goes to the `door`.
"""

import argparse
import os
import sys
from typing import Any

from mosec import Server

from darkroom import logs
from darkroom.flows import STAGES, Stage
from darkroom.serving.wire import MAX_REQUEST_BYTES
from darkroom.serving.worker import (
    IMPLEMENTATION_ENV,
    PORT_ENV,
    QUEUED_BATCHES,
    STAGE_ENV,
    TIMEOUT_FACTOR,
    StageWorker,
    end_with,
)
from darkroom.settings import settings

ADDRESS = "127.0.0.1"
"""There is no authentication, so no other machine may reach it."""
MAX_WAIT_MS = 10
"""How long a lone request waits for company."""
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(MAX_REQUEST_BYTES)}
"""Pictures come and go by the megabyte: glibc keeps their memory for the next ones, as fresh memory from the
kernel costs more than all else that is done with them here (docs/benchmarks.md). 32 MiB is its maximum."""


class _Server(Server):  # type: ignore[misc]
    """Remembers whether it was asked to stop; if not, ends at once."""

    asked_to_stop = False

    def _terminate(self, signum: int, framestack: Any) -> None:
        # Mosec calls this with a frame for a signal and with a text when a process of its own has died.
        died = isinstance(framestack, str)
        self.asked_to_stop |= not died
        super()._terminate(signum, framestack)
        front = self._rs_runtime_manager.process
        if died and not self.asked_to_stop and front is not None:
            # Nobody will answer what is in flight: its clients shall hear now, and not at their deadlines.
            front.kill()


def mosec_settings(stage: Stage, port: int) -> list[str]:
    """Mosec's command line for a server of `stage`."""
    return [
        f"--address={ADDRESS}",
        f"--port={port}",
        f"--timeout={int(stage.deadline_s * TIMEOUT_FACTOR * 1000)}",
        f"--capacity={stage.batch_size * QUEUED_BATCHES}",
        f"--max-request-size={MAX_REQUEST_BYTES}",
        "--namespace=darkroom_server",
        "--log-level=warning",
    ]


def serve(stage: Stage, port: int, implementation: str) -> int:
    """Serve until stopped.

    Returns:
        0 when asked to stop, 1 when the worker or the front died; see the log for why.
    """
    # Mosec reads its settings from the command line, and there before its own environment variables.
    sys.argv[1:] = mosec_settings(stage, port)
    # For the processes that mosec starts: glibc reads it when a process begins.
    os.environ.update(MALLOC)
    server = _Server()
    server.append_worker(
        StageWorker,
        max_batch_size=stage.batch_size,
        max_wait_time=MAX_WAIT_MS,
        timeout=stage.deadline_s * TIMEOUT_FACTOR,
        env=[{STAGE_ENV: stage.name, IMPLEMENTATION_ENV: implementation, PORT_ENV: str(port)}],
    )
    server.run()
    return 0 if server.asked_to_stop else 1


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.serving.server", description=serve.__doc__)
    parser.add_argument("--stage", required=True, choices=sorted(STAGES))
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument(
        "--implementation", help="module:Class; default: DARKROOM_IMPLEMENTATIONS, then the stage table"
    )
    parser.add_argument("--supervisor", type=int, help="pid of the supervisor; ends when that does")
    arguments = parser.parse_args()
    if arguments.supervisor:
        end_with(arguments.supervisor)
    stage = STAGES[arguments.stage]
    logs.begin(stage=stage.name)
    named = arguments.implementation or settings().implementations.get(stage.name)
    return serve(stage, arguments.port, named or stage.implementation)


if __name__ == "__main__":
    sys.exit(main())
