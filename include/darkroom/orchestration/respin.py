"""The round after this one: cut, start as a run of `shard_flow`, wait for it without a slot."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.triggers.external_task import DagStateTrigger
from airflow.sdk import BaseOperator, task_group
from airflow.sdk.definitions.xcom_arg import XComArg

from darkroom.orchestration import tasks

LONGEST_WAIT = timedelta(days=7)
"""Somebody paused `shard_flow`, or deleted the run: the wait ends, and the run says so by failing."""


class WaitForRun(BaseOperator):
    """Defer until a run has ended, however it ended: the store, not its state, says what is done."""

    template_fields = ("run_id",)

    def __init__(self, *, dag_id_to_wait_for: str, run_id: str | XComArg, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dag_id_to_wait_for = dag_id_to_wait_for
        self.run_id = run_id

    def execute(self, context: Any) -> None:
        """Hand the wait to the triggerer."""
        states = ["success", "failed"]
        trigger = DagStateTrigger(self.dag_id_to_wait_for, states, [str(self.run_id)], poll_interval=1)
        self.defer(trigger=trigger, method_name="ended", timeout=LONGEST_WAIT)

    def ended(self, context: Any, event: Any) -> None:
        """The run has ended."""


@task_group(tooltip="what C rejected with new seeds, and what is left over, as a run of its own")
def respin() -> None:
    """Start the next round under a name that is the same on every try, and wait for it.

    Starting and waiting are two tasks: one that does both, retried, would find its run existing and
    skip the wait.
    """
    cut = tasks.leftovers()
    start = TriggerDagRunOperator(
        task_id="start",
        trigger_dag_id="shard_flow",
        trigger_run_id="{{ ti.xcom_pull('respin.leftovers')['run_id'] }}",
        conf=cut["conf"],
        logical_date=None,
        skip_when_already_exists=True,
    )
    wait = WaitForRun(
        task_id="wait",
        dag_id_to_wait_for="shard_flow",
        run_id="{{ ti.xcom_pull('respin.leftovers')['run_id'] }}",
        trigger_rule="none_failed_min_one_success",
    )
    cut >> start >> wait
    cut >> wait  # `start` skips when the run exists already; the wait must not
