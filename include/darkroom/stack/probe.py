"""Whether the part in this container works, for its health check: `python -m darkroom.stack.probe scheduler`.

By the same signs as `darkroom up`. Nothing of Airflow is imported: a check runs twice a minute everywhere.
"""

import argparse
import socket
import sys
from pathlib import Path

from darkroom.serving.status import ServerStatus, status_file
from darkroom.settings import settings
from darkroom.stack import health
from darkroom.stack.home import Home
from darkroom.stack.serving_parts import celery_name

BEATS = ("scheduler", "dag-processor", "triggerer")
PARTS = ("api-server", *BEATS, "capacity", "light", "host")


def works(part: str) -> bool:
    """Whether it does; `light` is the worker without a model, `host` what `darkroom worker` runs."""
    here = settings()
    if part == "api-server":
        return health.airflow_answers(here.api_url)
    if part in BEATS:
        return health.airflow_beats(here.api_url, part.replace("-", "_"), started=0)
    if part == "capacity":
        return health.beats(Home.current().path / "run" / "capacity", started=0)
    if part == "light":
        return _answer([f"celery@{socket.gethostname()}"])
    return _host_works(Home.current().workers())


def _host_works(homes: list[Home]) -> bool:
    """Whether every model server answers its canaries, and every worker the broker."""
    names = [(home, name) for home in homes for name in _servers(home)]
    return (
        bool(names)
        and all(health.server_answers(home, name, started=0) for home, name in names)
        and _answer([celery_name(name) for _, name in names])
    )


def _servers(home: Home) -> list[str]:
    """The names of the servers whose supervisors have said something."""
    folder = status_file(home.path, "any").parent
    found = (path for path in sorted(folder.glob("*.json")) if ServerStatus.read(path) is not None)
    return [Path(path).stem for path in found]


def _answer(workers: list[str]) -> bool:
    ping = health.WorkerPing(settings().broker_url.get_secret_value(), workers)
    return all(ping.answers(worker) for worker in workers)


def main() -> int:
    """The exit code is the answer."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.stack.probe")
    parser.add_argument("part", choices=PARTS)
    return 0 if works(parser.parse_args().part) else 1


if __name__ == "__main__":
    sys.exit(main())
