"""Cluster policies: every task of a stage runs on a queue and in a pool of the stage, or not at all.

What somebody waits for (`interactive`) has queues and pools of its own, so that no bulk stands before it.
Found by Airflow through the entry point `airflow.policy`.
"""

import sys
from importlib import import_module
from typing import Any

from airflow import settings as airflow_settings
from airflow.configuration import conf
from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.policies import hookimpl
from airflow.utils.types import DagRunType

from darkroom.flows import LIGHT_POOL, STAGES, Stage, queues
from darkroom.orchestration import tracing

INTERACTIVE = "interactive"
BACKFILL = "backfill"
PRIORITY_WEIGHTS = {BACKFILL: 0, "bulk": 100, "normal": 200, INTERACTIVE: 300}
"""Far enough apart that no chunk of a lower priority goes before one of a higher, however deep."""
_DEFAULT_POOL = "default_pool"

# Airflow 3.3.2 passes the hook by for tasks that are not mapped, unless it stands in airflow_local_settings.
airflow_settings.task_instance_mutation_hook.is_noop = False

if sys.argv[1:3] == ["celery", "worker"]:
    import_module("darkroom.orchestration.preload")  # waits for Celery's signal; nothing heavy yet
if conf.getboolean("sentry", "sentry_on", fallback=False):
    import_module("darkroom.orchestration.scrubbing")  # before any task can fail
_TRACES = conf.getboolean("traces", "otel_on", fallback=False)


@hookimpl
def task_policy(task: Any) -> None:
    """Route a task by the stage that it is named after; refuse a queue that no worker takes from.

    Raises:
        AirflowClusterPolicyViolation: the queue is unknown; a task on it would wait for ever.
    """
    if stage := _stage_of(task):
        task.queue, task.pool = stage.queue, stage.pool
    elif task.pool == _DEFAULT_POOL:
        task.pool = LIGHT_POOL
    if task.queue not in queues():
        raise AirflowClusterPolicyViolation(
            f"task {task.task_id} asks for queue {task.queue!r}, which has no worker; "
            f"known queues: {', '.join(queues())}"
        )


@hookimpl
def task_instance_mutation_hook(task_instance: Any, dag_run: Any) -> None:
    """Weigh and route a run's tasks by the `priority` it was started with.

    Airflow calls it whenever it has set a task instance's queue, pool and weight from its task.
    """
    task = task_instance.task
    if dag_run is None or task is None:
        return
    if _TRACES:
        tracing.give_place(task_instance, dag_run)
    priority = (dag_run.conf or {}).get("priority", "normal")
    if dag_run.run_type == DagRunType.BACKFILL_JOB:
        priority = BACKFILL  # old days give way to fresh work, whatever they were started with
    if priority not in PRIORITY_WEIGHTS:
        return
    task_instance.priority_weight = PRIORITY_WEIGHTS[priority] + task.priority_weight
    if priority != INTERACTIVE:
        return
    if stage := _stage_of(task):
        task_instance.queue, task_instance.pool = stage.now_queue, stage.now_pool
    elif task.pool == LIGHT_POOL:
        task_instance.pool = _DEFAULT_POOL


def _stage_of(task: Any) -> Stage | None:
    return STAGES.get(task.task_id.rpartition(".")[2])
