"""The parts of a stack: which processes there are, what each needs, and how one sees that it works.

All of them follow from the stage table.
"""

import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from darkroom.flows import DEFAULT_QUEUE, STAGES, Stage
from darkroom.settings import settings
from darkroom.stack import environment, health, valkey
from darkroom.stack.layout import PROGRESS, Stack
from darkroom.stack.postgres import Postgres

Probe = Callable[[float], bool]
"""Whether the part works; takes when its process started, as an epoch."""
_PYTHON = sys.executable


@dataclass(frozen=True)
class Part:
    """One supervised process."""

    name: str
    command: tuple[str, ...]
    probe: Probe
    needs: tuple[str, ...] = ()
    """Started when these work."""
    uses: tuple[str, ...] = ()
    """Works only with these, but may start beside them; stopped before them."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadline_s: float = 120
    """From its start until it works."""
    stop_signal: str = "TERM"
    stop_wait_s: int = 10
    """Then it is killed, with its process group."""
    user: str = ""
    fails: Callable[[], str] = lambda: ""
    """Why it does not work, where that is known; waiting longer won't help then."""


def parts(stack: Stack) -> dict[str, Part]:
    """All parts of the stack, by name, in the order in which they are shown."""
    ping = health.WorkerPing(stack)
    listed = [*_engines(stack), *_airflow(stack), _default_worker(stack, ping)]
    for stage in STAGES.values():
        for number in range(1, stage.servers + 1):
            listed += _server_with_worker(stack, stage, f"{stage.name}-{number}", ping)
    return {part.name: part for part in listed}


def _engines(stack: Stack) -> list[Part]:
    postgres, port = Postgres.place(stack.home), stack.ports["postgres"]
    return [
        Part(
            "postgres",
            postgres.command(port, {environment.MARK: str(stack.home.path), "LANG": "C"}),
            lambda _: postgres.is_ready(port),
            needs=("cluster",),
            stop_signal="INT",  # fast shutdown: TERM would wait for every client to leave
            stop_wait_s=20,
            user=postgres.user,
        ),
        Part(
            "valkey",
            (str(valkey.program()), str(stack.home.valkey / "valkey.conf")),
            lambda _: valkey.is_ready(stack),
        ),
    ]


def _airflow(stack: Stack) -> list[Part]:
    env = environment.airflow(stack)

    def part(name: str, *options: str, needs: tuple[str, ...], key: str, stop_wait_s: int = 10) -> Part:
        command = (_PYTHON, "-m", "airflow", name, *options)
        probe = partial(health.airflow_beats, stack, key)
        return Part(name, command, probe, ("schema", *needs), ("api-server",), env, stop_wait_s=stop_wait_s)

    api = Part(
        "api-server", (_PYTHON, "-m", "airflow", "api-server"),
        lambda _: health.airflow_answers(stack), ("schema",), ("postgres",), env,
    )  # fmt: skip
    # The triggerer takes 10 s and more to leave; what it watched, the next one takes up again.
    return [
        api,
        part("scheduler", needs=("valkey",), key="scheduler"),
        part("dag-processor", needs=(), key="dag_processor"),
        part("triggerer", "--skip-serve-logs", needs=(), key="triggerer", stop_wait_s=3),
    ]


def _default_worker(stack: Stack, ping: health.WorkerPing) -> Part:
    lanes = environment.worker(stack)["AIRFLOW__CELERY__WORKER_CONCURRENCY"]
    return _worker(stack, "default", DEFAULT_QUEUE, int(lanes), {}, (), ping)


def _server_with_worker(stack: Stack, stage: Stage, name: str, ping: health.WorkerPing) -> list[Part]:
    server = f"server-{name}"
    urls = json.dumps({stage.name: stack.server_url(name)})
    command = (_PYTHON, "-m", "darkroom.serving.supervisor", "--stage", stage.name, "--name", name)
    return [
        Part(
            server,
            (*command, "--port", str(stack.ports[server])),
            lambda _: health.server_answers(stack.ports[server], stack.server_url(name), stage.deadline_s),
            uses=("valkey",),
            fails=partial(health.why_server_fails, name),
            environment={
                "OMP_NUM_THREADS": str(settings().threads),
                "DARKROOM_REDIS_URL": stack.redis_url(PROGRESS),
            },
            deadline_s=stage.load_s,
        ),
        _worker(
            stack, name, stage.queue, stage.lanes_per_server, {"DARKROOM_SERVER_URLS": urls}, (server,), ping
        ),
    ]


def _worker(
    stack: Stack,
    name: str,
    queue: str,
    lanes: int,
    extra: Mapping[str, str],
    uses: tuple[str, ...],
    ping: health.WorkerPing,
) -> Part:
    # A name of its own: several workers on one host must differ, for Celery and in results.
    host = f"{name}@{socket.gethostname()}"
    options = ("--queues", queue, "--concurrency", str(lanes), "--celery-hostname", host)
    return Part(
        f"worker-{name}",
        (_PYTHON, "-m", "airflow", "celery", "worker", *options, "--skip-serve-logs", "--without-gossip",
         "--without-mingle", "--pid", str(stack.home.path / "run" / f"worker-{name}.pid")),
        lambda _: ping.answers(host),
        needs=("valkey",),
        uses=("api-server", *uses),
        environment={**environment.worker(stack), "DARKROOM_HOST": host, **extra},
        # TERM goes to the main process only: no new task, the running ones end at an item boundary.
        stop_wait_s=30,
    )  # fmt: skip
