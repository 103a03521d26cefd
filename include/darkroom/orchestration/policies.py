"""Cluster policies: every task of a stage runs on the stage's queue and in its pool, or not at all.

Found by Airflow through the entry point `airflow.policy`.
"""

from typing import Any

from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.policies import hookimpl

from darkroom.flows import STAGES, queues

PRIORITY_WEIGHTS = {"bulk": 0, "normal": 100, "interactive": 200}
"""Far enough apart that no chunk of a lower priority goes before one of a higher, however deep."""


@hookimpl
def task_policy(task: Any) -> None:
    """Route a task named after a stage; refuse a queue that no worker takes from.

    Raises:
        AirflowClusterPolicyViolation: the queue is unknown; a task on it would wait for ever.
    """
    stage = STAGES.get(task.task_id.rpartition(".")[2])
    if stage is not None:
        task.queue = stage.queue
        task.pool = stage.pool
    if task.queue not in queues():
        raise AirflowClusterPolicyViolation(
            f"task {task.task_id} asks for queue {task.queue!r}, which has no worker; "
            f"known queues: {', '.join(queues())}"
        )


@hookimpl
def task_instance_mutation_hook(task_instance: Any, dag_run: Any) -> None:
    """Weigh a run's tasks by the `priority` it was started with, over their depth in the flow."""
    if dag_run is None or task_instance.task is None:
        return
    weight = PRIORITY_WEIGHTS.get((dag_run.conf or {}).get("priority", "normal"))
    if weight is not None:
        task_instance.priority_weight = weight + task_instance.task.priority_weight
