"""Which batch, chunk, stage and host a task is of: for every line that it logs, and its errors in Sentry.

Airflow calls this in the process of the task, before it runs; what is added holds until that process ends.
"""

from typing import Any

from airflow.listeners import hookimpl


@hookimpl
def on_task_instance_running(task_instance: Any) -> None:
    """A task begins."""
    from darkroom.settings import settings

    here = settings()
    if here.log_format != "json" and not here.sentry_dsn.get_secret_value():
        return
    from darkroom.annotation import annotate

    fields = fields_of(task_instance, here.host)
    annotate(**fields)
    if here.sentry_dsn.get_secret_value():
        import sentry_sdk

        sentry_sdk.get_current_scope().set_tags(fields)


def fields_of(task_instance: Any, host: str) -> dict[str, str | int]:
    """What is known of a task instance; of one that has no chunk, no chunk."""
    from darkroom.records import batch_id_for

    task = task_instance.task
    params = task_instance.get_template_context()["params"]
    fields = {
        "batch": batch_id_for(params.get("batch_id"), task_instance.run_id),
        "stage": getattr(task, "stage_name", ""),
        "chunk": getattr(task, "chunk_id", ""),
        "host": host,
        "dag_id": task_instance.dag_id,
        "run_id": task_instance.run_id,
        "task_id": task_instance.task_id,
        "try_number": task_instance.try_number,
    }
    return {name: value for name, value in fields.items() if value != ""}
