"""A model server under its supervisor, the Celery worker whose lanes feed it, and one for who can't wait.

The same on the plant's own machine and on a GPU host that joins it.
"""

import json
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from darkroom.flows import Stage
from darkroom.serving.client import UNIX
from darkroom.serving.door import DOOR_ENV
from darkroom.serving.status import status_file
from darkroom.settings import settings
from darkroom.stack import health
from darkroom.stack.home import Home
from darkroom.stack.part import Part
from darkroom.stack.ports import LOOPBACK

_PYTHON = sys.executable


@dataclass(frozen=True)
class Site:
    """What the servers and workers of one machine share."""

    home: Home
    ping: health.WorkerPing
    redis_url: str = field(repr=False)
    """Live progress, and who is there."""
    environment: Mapping[str, str] = field(repr=False)
    """For Celery workers."""
    now: str = "now"
    """The name of its worker for interactive runs: the same as no other worker's on this machine."""
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    """Parts of the plant, where they run beside these."""
    server_first: bool = False
    """Start a worker only when its server works: who joins a plant at work must not take chunks before."""

    def server_with_worker(self, stage: Stage, name: str, port: int, gpu: str | None = None) -> list[Part]:
        """The parts `server-{name}` and `worker-{name}`."""
        return [self._server(stage, name, port, gpu), self._lanes(stage, name, port)]

    def now_worker(self, servers: Sequence[tuple[Stage, str]]) -> Part:
        """The part that takes what somebody waits for to the doors of all servers of the machine.

        One for all, as a worker takes some 200 MB, idle or not; a chunk chooses its server itself.
        """
        doors: dict[str, list[str]] = {}
        for stage, name in servers:
            doors.setdefault(stage.name, []).append(f"{UNIX}{self.home.door(name)}")
        queues = ",".join(dict.fromkeys(stage.now_queue for stage, _ in servers))
        extra = {"DARKROOM_SERVER_URLS": json.dumps(doors)}
        names = tuple(f"server-{name}" for _, name in servers)
        drain_s = max(stage.drain_s for stage, _ in servers)
        return self.worker(self.now, queues, len(servers), extra, names, drain_s)

    def worker(
        self,
        name: str,
        queue: str,
        slots: int,
        extra: Mapping[str, str] | None = None,
        server: tuple[str, ...] = (),
        drain_s: int = 30,
    ) -> Part:
        """A Celery worker on one queue, or on several, with commas between them."""
        host = celery_name(name)
        options = ("--queues", queue, "--concurrency", str(slots), "--celery-hostname", host)
        return Part(
            f"worker-{name}",
            (_PYTHON, "-m", "airflow", "celery", "worker", *options, "--skip-serve-logs", "--without-gossip",
             "--without-mingle", "--pid", str(self.home.path / "run" / f"worker-{name}.pid")),
            lambda _: self.ping.answers(host),
            needs=(*self.needs, *(server if self.server_first else ())),
            uses=(*self.uses, *server),
            environment={**self.environment, "DARKROOM_HOST": host, **(extra or {})},
            # TERM goes to the main process only: no new task, the running ones end at an item boundary.
            stop_wait_s=drain_s,
        )  # fmt: skip

    def _lanes(self, stage: Stage, name: str, port: int) -> Part:
        urls = json.dumps({stage.name: f"http://{LOOPBACK}:{port}"})
        status = str(status_file(self.home.path, name))
        extra = {"DARKROOM_SERVER_URLS": urls, "DARKROOM_SERVER_STATUS": status}
        slots, server = stage.lanes_per_server, (f"server-{name}",)
        return self.worker(name, stage.queue, slots, extra, server, stage.drain_s)

    def _server(self, stage: Stage, name: str, port: int, gpu: str | None) -> Part:
        pinned = () if gpu is None else ("--gpu", gpu)
        return Part(
            f"server-{name}",
            (_PYTHON, "-m", "darkroom.serving.supervisor", "--stage", stage.name, "--name", name,
             "--port", str(port), "--now-worker", celery_name(self.now), *pinned),
            lambda started: health.server_answers(self.home, name, started),
            uses=self.needs,
            fails=_why(self.home, name),
            environment={
                "OMP_NUM_THREADS": str(settings().threads),
                "DARKROOM_REDIS_URL": self.redis_url,
                "DARKROOM_HOST": socket.gethostname(),
                DOOR_ENV: str(self.home.door(name)),
            },
            deadline_s=stage.load_s + stage.deadline_s,
            stop_wait_s=stage.drain_s,
        )  # fmt: skip


def celery_name(name: str) -> str:
    """A worker's own name: several workers on one host must differ, for Celery and in results."""
    return f"{name}@{socket.gethostname()}"


def _why(home: Home, name: str) -> Callable[[], str]:
    return lambda: health.why_server_fails(home, name)
