"""Keeps one model server at work: `python -m darkroom.serving.supervisor --stage generate --port 8101`.

A server that ends is started again, after a back-off. One that hangs is killed: the proof of life is an
answered canary, as a port stays open and `GET /` says 200 while the model hangs. One that grows beyond its
memory limit is drained, which ends at a batch boundary, and started anew. One that is fenced goes on, and
its canaries too: the fence is lifted when its time is over and a canary that was asked since is answered.
What goes on is in a status file, and told to the fleet.
"""

import argparse
import logging
import os
import platform
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from darkroom import logs
from darkroom.errors import DarkroomError, ServerGone
from darkroom.flows import STAGES, Stage
from darkroom.records import SCHEMA_VERSION
from darkroom.serving.board import Board
from darkroom.serving.client import StageClient
from darkroom.serving.gpu import Gpu
from darkroom.serving.keeper import watch
from darkroom.serving.process import ServerProcess
from darkroom.serving.scraping import targets_file, write_targets
from darkroom.serving.status import ServerStatus, State
from darkroom.settings import Settings, settings

NO_GPU = "none"
_TICK_S = 0.2
_LOOK_S = 2.0
"""How often memory is looked at and the status is told."""
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 120.0
_STABLE_S = 60.0
"""Who was ready for so long starts again without waiting longer than the first time."""

log = logging.getLogger("supervisor")


class Supervisor:
    """One model server, however often it must be started."""

    def __init__(
        self, stage: Stage, name: str, port: int, gpu: str | None, here: Settings, now_worker: str = ""
    ) -> None:
        """Watch over a server of `stage` on `port`.

        Args:
            stage: its row.
            name: of the server on this host, such as `generate-1`.
            port: on loopback.
            gpu: pinned to this one, by index or UUID; `none`: it sees no GPU; None: not pinned.
            here: the settings of this process.
            now_worker: the Celery worker that takes interactive chunks to it.

        Raises:
            ValueError: there is no such GPU.
        """
        self._stage, self._here = stage, here
        self._gpu = Gpu(gpu) if gpu not in (None, NO_GPU) else None
        if self._gpu:
            self._gpu.watch_errors()
        self._client = StageClient(f"http://127.0.0.1:{port}", stage.deadline_s)
        self._command = [
            f"--stage={stage.name}", f"--port={port}", f"--supervisor={os.getpid()}",
        ]  # fmt: skip
        # In the order of NVML, which is not CUDA's own.
        pin = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        if gpu == NO_GPU:
            pin["CUDA_VISIBLE_DEVICES"] = ""
        self._report = here.home / "run" / "servers" / f"{name}.load.json"
        self._environment = {**pin, "DARKROOM_REPORT": str(self._report)}
        status = ServerStatus(
            name=name, host=here.host or platform.node(), stage=stage.name, model=stage.model,
            implementation=here.implementations.get(stage.name) or stage.implementation,
            state=State.LOADING, url=self._client.url, lanes=stage.lanes_per_server,
            memory_limit_mb=stage.memory_mb, now_worker=now_worker, schema_version=SCHEMA_VERSION,
        )  # fmt: skip
        self._board = Board(status, self._gpu, here)
        self._targets = targets_file(here.home, name)
        self._stop = threading.Event()
        self._canaries = ThreadPoolExecutor(1, thread_name_prefix="canary")
        self._looked_at = 0.0

    def stop(self) -> None:
        """Drain the server and end."""
        self._stop.set()

    def run(self) -> None:
        """Keep the server at work until `stop` is called."""
        write_targets(self._targets, self._board.status)
        backoff_s, said = _FIRST_BACKOFF_S, ""
        while not self._stop.is_set():
            self._board.tell(State.LOADING, starts=self._board.status.starts + 1, loaded=None, canary_s=None)
            ready_s, reason = self._run_once()
            if self._stop.is_set():
                break
            backoff_s = _FIRST_BACKOFF_S if ready_s > _STABLE_S else backoff_s
            if reason != said:  # once, not at every start
                log.error("%s: %s", self._board.status.name, reason)
                said = reason
            first_line = reason.splitlines()[0]
            self._board.tell(State.WAITING, reason=first_line, last_end=first_line, pid=None, memory_mb=0)
            self._wait(backoff_s)
            backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
        self._board.tell(State.STOPPED, reason="", pid=None, memory_mb=0)
        self._board.forget()
        self._targets.unlink(missing_ok=True)

    def _run_once(self) -> tuple[float, str]:
        """One process of the server; seconds for which it was ready, and why it ended."""
        try:
            server = ServerProcess(self._command, self._report, self._environment)
        except OSError as error:  # no such interpreter, no memory to fork
            return 0, f"can't be started: {error}"
        self._board.tell(State.LOADING, pid=server.pid)
        try:
            return self._watch(server)
        finally:
            server.kill()

    def _watch(self, server: ServerProcess) -> tuple[float, str]:
        """Seconds for which it was ready, and why it must be, or was, ended."""
        if reason := self._await_load(server):
            return 0, reason
        ready_at: float | None = None
        canary: Future[float] | None = None
        asked = -self._here.canary_every_s
        while not self._stop.is_set():
            if server.exit_code is not None:
                return _since(ready_at), f"ended by itself (exit code {server.exit_code})"
            if canary is None and time.monotonic() - asked >= self._here.canary_every_s:
                asked, canary = time.monotonic(), self._canaries.submit(self._canary)
            if canary is not None and canary.done():
                try:
                    took_s = canary.result()
                except DarkroomError as error:
                    return _since(ready_at), f"canary failed: {error}"
                if self._board.fence.lift(asked=time.time() - (time.monotonic() - asked)):
                    log.info("%s: the fence is lifted", self._board.status.name)
                self._board.tell(State.READY, reason="", canary_s=round(took_s, 3), worked=True)
                ready_at = ready_at or time.monotonic()
                canary = None
            if reason := self._look(server):
                self._drain(server, reason)
                return _since(ready_at), reason
            self._wait(_TICK_S)
        self._drain(server, "")
        return _since(ready_at), ""

    def _await_load(self, server: ServerProcess) -> str:
        """Wait until the weights are loaded; why they are not, or nothing."""
        until = time.monotonic() + self._stage.load_s
        while not self._stop.is_set():
            report = server.load_report()
            if report is not None and report.error:
                return f"load failed: {report.error}\n{report.traceback}"
            if report is not None:
                self._board.tell(State.LOADING, loaded=report)
                return ""
            if server.exit_code is not None:
                return f"ended while it was loading (exit code {server.exit_code})"
            if time.monotonic() > until:
                return f"not loaded after load_s = {self._stage.load_s:g} s"
            self._look(server)
            self._wait(_TICK_S)
        return ""

    def _canary(self) -> float:
        """Seconds until the server has run its stage's sample.

        Raises:
            DarkroomError: it did not within the stage's deadline, or the sample fails.
        """
        begun = time.monotonic()
        while True:
            left_s = begun + self._stage.deadline_s - time.monotonic()
            try:
                self._client.canary(left_s)
                return time.monotonic() - begun
            except ServerGone:  # not listening yet; that it has ended is seen elsewhere
                if left_s < _TICK_S or self._stop.wait(_TICK_S):
                    raise

    def _look(self, server: ServerProcess) -> str:
        """Now and then, measure and tell; why the server must be replaced, or nothing."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            return ""
        self._looked_at = time.monotonic()
        on_gpu = self._gpu.memory_mb(server.pids()) if self._gpu else None
        memory_mb = server.ram_mb() if self._gpu is None else on_gpu or 0
        self._board.tell(self._board.status.state, memory_mb=memory_mb)
        loaded = self._board.status.loaded
        elsewhere = self._gpu is None and loaded is not None and loaded.device.startswith("cuda")
        # RAM is no measure of what it takes on a GPU that it was not pinned to.
        if memory_mb <= self._stage.memory_mb or elsewhere:
            return ""
        return f"takes more than memory_mb = {self._stage.memory_mb}: replaced"

    def _drain(self, server: ServerProcess, reason: str) -> None:
        self._board.tell(State.DRAINING, reason=reason)
        server.drain()
        until = time.monotonic() + self._stage.deadline_s
        while server.exit_code is None and time.monotonic() < until:
            time.sleep(_TICK_S)

    def _wait(self, seconds: float) -> None:
        """Wait, but not for long when asked to stop; what is told must not grow old meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.wait(min(left, _LOOK_S)):
            if left > _LOOK_S:
                self._board.tell(self._board.status.state)


def _since(begun: float | None) -> float:
    return 0 if begun is None else time.monotonic() - begun


def main() -> int:
    """Parse the command line and supervise."""
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.serving.supervisor", description="Keep one model server at work."
    )
    parser.add_argument("--stage", required=True, choices=sorted(STAGES))
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--name", help="of the server on this host; default: the stage's")
    parser.add_argument("--gpu", help="index or UUID of the GPU it is pinned to; none: it sees none")
    parser.add_argument("--now-worker", default="", help="the Celery worker for interactive chunks to it")
    arguments = parser.parse_args()
    stage = STAGES[arguments.stage]
    name = arguments.name or stage.name
    logs.begin(stage=stage.name, server=name, host=settings().host or platform.node())
    try:
        supervisor = Supervisor(
            stage, name, arguments.port, arguments.gpu, settings(),
            arguments.now_worker,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    watch(settings().drain_marker, supervisor.stop)
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
