"""What every task imports, imported once in a Celery worker, before it forks.

A task is a fork of a fork of the worker, which parses the DAG files anew: without this each task imports
Darkroom, pyarrow, Pillow and much of Airflow for itself, a second of CPU. Airflow does the same for some of
its own modules. Nothing is *used* here: a store or a connection must be opened by who works with it.
"""

from importlib import import_module
from typing import Any

from celery.signals import import_modules
from jinja2.lexer import get_lexer
from jinja2.sandbox import SandboxedEnvironment

MODULES = (
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "PIL.WebPImagePlugin",
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.importers.python_importer",
    "airflow.providers.standard.operators.empty",
    "airflow.sdk.bases.sensor",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.definitions.connection",
    "airflow.sdk.execution_time.coordinator",
    "airflow.sdk.execution_time.request_handlers",
    "airflow.sdk.execution_time.schema.migrator",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.version",
    "darkroom.chunks.budget",
    "darkroom.chunks.chunk",
    "darkroom.live.backlog",
    "darkroom.live.control",
    "darkroom.orchestration.annotations",
    "darkroom.orchestration.branching",
    "darkroom.orchestration.children",
    "darkroom.orchestration.deadlines",
    "darkroom.orchestration.defaults",
    "darkroom.orchestration.groups",
    "darkroom.orchestration.lane",
    "darkroom.orchestration.listener",
    "darkroom.orchestration.pages",
    "darkroom.orchestration.plan_task",
    "darkroom.orchestration.telling",
    "darkroom.plans.rounds",
    "darkroom.plans.runs",
    "darkroom.results.contact_sheet",
    "darkroom.results.manifest",
    "darkroom.results.onward",
    "darkroom.results.routing",
    "pyarrow.compute",
    "pyarrow.parquet",
)


@import_modules.connect
def preload(*_arguments: Any, **_more: Any) -> None:
    """Import what tasks import."""
    for name in MODULES:
        import_module(name)
    get_lexer(SandboxedEnvironment())  # compiles its expressions, for the templates that name map indexes
