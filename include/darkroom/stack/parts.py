"""The parts of a stack: which processes there are, what each needs, and how one sees that it works.

All of them follow from the stage table.
"""

import sys
from functools import partial
from typing import Any

from darkroom import hostname
from darkroom.flows import DEFAULT_QUEUE, STAGES, Stage
from darkroom.settings import settings
from darkroom.stack import environment, health, valkey
from darkroom.stack.credentials import ADMIN
from darkroom.stack.jobs import Jobs
from darkroom.stack.layout import BROKER, PROGRESS, Stack
from darkroom.stack.part import Part
from darkroom.stack.postgres import Postgres
from darkroom.stack.serving_parts import Site, celery_name

_PYTHON = sys.executable


def parts(stack: Stack) -> dict[str, Part]:
    """All parts of the stack, by name, in the order in which they are shown."""
    site = _site(stack)
    slots = site.environment["AIRFLOW__CELERY__WORKER_CONCURRENCY"]
    listed = [
        *_engines(stack),
        *_airflow(stack),
        _capacity(stack, int(slots) - 1),
        site.worker("default", DEFAULT_QUEUE, int(slots)),
    ]
    for stage, name in _servers():
        listed += site.server_with_worker(stage, name, stack.ports[f"server-{name}"])
    if servers := _servers():
        listed.append(site.now_worker(servers))
    return {part.name: part for part in listed}


def _servers() -> list[tuple[Stage, str]]:
    return [(s, f"{s.name}-{number}") for s in STAGES.values() for number in range(1, s.servers + 1)]


def _site(stack: Stack) -> Site:
    workers = [celery_name(name) for name in ("default", "now", *(name for _, name in _servers()))]
    return Site(
        home=stack.home,
        ping=health.WorkerPing(stack.redis_url(BROKER), workers),
        redis_url=stack.redis_url(PROGRESS),
        environment=environment.worker(stack),
        needs=("valkey",),
        uses=("api-server",),
    )


def _capacity(stack: Stack, light_slots: int) -> Part:
    return Part(
        "capacity",
        (_PYTHON, "-m", "darkroom.fleet.capacity"),
        lambda started: health.beats(stack.home.path / "run" / "capacity", started),
        needs=("schema",),
        uses=("api-server", "valkey"),
        environment={
            "DARKROOM_REDIS_URL": stack.redis_url(PROGRESS),
            "DARKROOM_BROKER_URL": stack.redis_url(BROKER),
            "DARKROOM_LIGHT_SLOTS": str(light_slots),
            **_login(stack),
        },
    )


def _login(stack: Stack) -> dict[str, str]:
    """For who changes pools, and who ends the runs of a batch at its deadline."""
    return {
        "DARKROOM_API_URL": stack.api_url,
        "DARKROOM_API_USER": ADMIN,
        "DARKROOM_API_PASSWORD": stack.credentials.admin_password,
    }


def metrics_token(stack: Stack) -> str:
    """Who shows it may read the plant's metrics: what the settings say, else one that was generated."""
    return settings().metrics_token.get_secret_value() or stack.credentials.metrics_token


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

    jobs = Jobs(stack)

    def part(name: str, *options: str, twin: str = "", needs: tuple[str, ...] = (), **more: Any) -> Part:
        command = (_PYTHON, "-m", "airflow", name, *options)
        probe = partial(health.airflow_beats, stack.api_url, name.replace("-", "_"))
        own = dict(more.pop("environment", {}))
        if twin:
            probe = partial(jobs.beats, twin)
            own |= {"AIRFLOW__CORE__HOSTNAME_CALLABLE": hostname.CALLABLE, hostname.PART_ENV: twin}
        return Part(
            twin or name, command, probe, ("schema", *needs), ("api-server",), environment=env | own, **more
        )

    api = Part(
        "api-server", (_PYTHON, "-m", "airflow", "api-server"),
        lambda _: health.airflow_answers(stack.api_url), ("schema",), ("postgres",),
        env | {"DARKROOM_METRICS_TOKEN": metrics_token(stack)},
    )  # fmt: skip
    # The triggerer takes 10 s and more to leave; what it watched, the next one takes up again.
    here = settings()
    # Airflow takes the database from the process in it that runs triggers; housekeeping has it cleaned there.
    beside = _login(stack) | {"DARKROOM_METADATA_URL": stack.postgres_url}
    return [
        api,
        *(part("scheduler", needs=("valkey",), twin=twin) for twin in _twins("scheduler", here.schedulers)),
        part("dag-processor"),
        *(
            part("triggerer", "--skip-serve-logs", twin=twin, stop_wait_s=3, environment=beside)
            for twin in _twins("triggerer", here.triggerers)
        ),
    ]


def _twins(name: str, count: int) -> list[str]:
    """`scheduler-1`, `scheduler-2`; one alone needs no name of its own."""
    return [""] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
