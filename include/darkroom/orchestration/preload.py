"""What every task imports, imported once in a Celery worker, before it forks.

A task is a fork of a fork of the worker, which parses the DAG files anew: without this each task imports
Darkroom, Airflow's operators and pyarrow for itself, a second of CPU. Airflow does the same for its own
modules. Nothing is *used* here: a store or a connection must be opened by who works with it.
"""

from importlib import import_module
from typing import Any

from celery.signals import import_modules

MODULES = (
    "darkroom.orchestration.children",
    "darkroom.orchestration.defaults",
    "darkroom.orchestration.groups",
    "darkroom.orchestration.lane",
    "darkroom.chunks.chunk",
    "darkroom.chunks.budget",
    "darkroom.live.control",
    "darkroom.results.contact_sheet",
    "darkroom.results.manifest",
    "darkroom.plans.rounds",
    "darkroom.plans.runs",
    "pyarrow.parquet",
)


@import_modules.connect
def preload(*_arguments: Any, **_more: Any) -> None:
    """Import what tasks import."""
    for name in MODULES:
        import_module(name)
