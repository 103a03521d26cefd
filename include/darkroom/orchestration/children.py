"""Runs that a run starts: triggered under names that are the same on every try, awaited without a slot.

Starting and waiting are two tasks: one that does both, retried, would find its run existing and skip the
wait.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.triggers.external_task import DagStateTrigger
from airflow.sdk import BaseOperator, task_group
from airflow.sdk.definitions.xcom_arg import XComArg

from darkroom.orchestration import tasks
from darkroom.orchestration.triggers import HandedOut

CHILD = "shard_flow"
LONGEST_WAIT = timedelta(days=60)
"""Somebody paused `shard_flow`, or deleted the run: the wait ends, and the run says so by failing."""
_PATIENCE: dict[str, Any] = {"retries": 20, "retry_delay": timedelta(seconds=15), "retry_policy": None}
"""An outage of Airflow's own parts must not end a batch of days."""


class WaitForRuns(BaseOperator):
    """Defer until all runs have ended, however they ended: the store, not their states, says what is done."""

    template_fields = ("runs",)

    def __init__(self, *, runs: list[dict[str, Any]] | XComArg, of_dag: str = CHILD, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.runs, self.of_dag = runs, of_dag

    def execute(self, context: Any) -> None:
        """Hand the wait to the triggerer."""
        run_ids = [run["trigger_run_id"] for run in self.runs]
        trigger = DagStateTrigger(self.of_dag, ["success", "failed"], run_ids, poll_interval=1)
        self.defer(trigger=trigger, method_name="ended", timeout=LONGEST_WAIT)

    def ended(self, context: Any, event: Any) -> None:
        """The runs have ended."""


class WaitForTurn(BaseOperator):
    """Defer until the shard before this one has almost nothing left to hand out.

    So the chunks of a batch go in plan order, the large ones first, whatever the number of its runs; and
    only one or two of these are busy at a time.
    """

    def execute(self, context: Any) -> None:
        """Hand the wait to the triggerer; the first shard, and a round, wait for nobody."""
        after = context["params"]["after"]
        if after is not None:
            self.defer(trigger=HandedOut(CHILD, **after), method_name="its_turn", timeout=LONGEST_WAIT)

    def its_turn(self, context: Any, event: Any) -> None:
        """The shard before is handed out."""


def start(runs: XComArg, of_dag: str = CHILD) -> Any:
    """Start a run of a DAG for each of `runs`; a run that exists already is left as it is."""
    return TriggerDagRunOperator.partial(
        task_id="start",
        trigger_dag_id=of_dag,
        logical_date=None,
        skip_when_already_exists=True,
        **_PATIENCE,
    ).expand_kwargs(runs)


def start_and_wait(runs: XComArg, of_dag: str = CHILD) -> WaitForRuns:
    """Start a run of a DAG for each of `runs`, and wait for all; the task that waits."""
    wait = WaitForRuns(
        task_id="wait", runs=runs, of_dag=of_dag, trigger_rule="none_failed_min_one_success", **_PATIENCE
    )
    start(runs, of_dag) >> wait
    runs >> wait  # `start` skips when the run exists already; the wait must not
    return wait


@task_group(tooltip="a large batch: runs of shard_flow, one shard each, in plan order")
def run_shards() -> None:
    """Start a run for each shard, and wait for all."""
    start_and_wait(tasks.list_shards())


@task_group(tooltip="what C rejected with new seeds, and what is left over, as a run of its own")
def respin() -> None:
    """Cut the next round, start it and wait for it."""
    start_and_wait(tasks.leftovers())
