"""Runs that a run starts: triggered under names that are the same on every try, awaited without a slot."""

from collections.abc import Mapping
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
_ENDED = ["success", "failed"]


class WaitForRuns(BaseOperator):
    """Defer until all runs have ended, however they ended: the store, not their states, says what is done."""

    template_fields = ("runs",)

    def __init__(self, *, runs: list[dict[str, Any]] | XComArg, of_dag: str = CHILD, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.runs, self.of_dag = runs, of_dag

    def execute(self, context: Any) -> None:
        """Hand the wait to the triggerer."""
        run_ids = [run["trigger_run_id"] for run in self.runs]
        self.defer(trigger=_all_ended(self.of_dag, run_ids), method_name="ended", timeout=LONGEST_WAIT)

    def ended(self, context: Any, event: Any) -> None:
        """The runs have ended."""


class RunShards(BaseOperator):
    """Start the shards of a large round one after the other, and wait for all of them, without a slot.

    One begins when the one before has handed out its chunks, all of them, as Airflow goes by map index, and
    not too much waits for the last stage. So the chunks of a batch go in plan order, the large ones first,
    and Airflow's scheduler has few runs to look at, whatever its size.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**_PATIENCE, **kwargs})

    def execute(self, context: Any) -> None:
        """Start the first that is not done: after a fault, perhaps one that runs already."""
        self.go_on(context)

    def go_on(
        self, context: Any, event: Any = None, after: int = -1, running: Mapping[str, int] | None = None
    ) -> None:
        """Start the one behind shard `after`; where that was the last, wait for those that still run.

        `running` are the runs that were started so far, and how many chunks each has.
        """
        still = {run_id: chunks for run_id, chunks in (running or {}).items() if not _ended(run_id)}
        shard = tasks.next_shard(after)
        if shard is not None:
            run_id, conf = shard["trigger_run_id"], shard["conf"]
            start_run(CHILD, run_id, conf)
            still[run_id] = shard["chunks"]
            turn = HandedOut(CHILD, run_id, **shard["turn"], chunks=still)
            so_far = {"after": conf["shard"], "running": still}
            self.defer(trigger=turn, method_name="go_on", kwargs=so_far, timeout=LONGEST_WAIT)
        if still:
            self.defer(trigger=_all_ended(CHILD, list(still)), method_name="ended", timeout=LONGEST_WAIT)

    def ended(self, context: Any, event: Any) -> None:
        """The runs have ended, however they ended."""


def start_run(dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
    """Start a run from within a task; one that exists is left as it is.

    `TriggerDagRunOperator` does the same, but only as a task's end: this run is found in the midst of one.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import TriggerDagRun

    task_runner.SUPERVISOR_COMMS.send(TriggerDagRun(dag_id=dag_id, run_id=run_id, conf=conf))


def _ended(run_id: str) -> bool:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return bool(RuntimeTaskInstance.get_dr_count(CHILD, run_ids=[run_id], states=_ENDED))


def _all_ended(dag_id: str, run_ids: list[str]) -> DagStateTrigger:
    return DagStateTrigger(dag_id, _ENDED, run_ids, poll_interval=1)


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
    """Start a run of a DAG for each of `runs`, and wait for all; the task that waits.

    Two tasks: `TriggerDagRunOperator`, retried, would find its run existing and skip the wait.
    """
    wait = WaitForRuns(
        task_id="wait", runs=runs, of_dag=of_dag, trigger_rule="none_failed_min_one_success", **_PATIENCE
    )
    start(runs, of_dag) >> wait
    runs >> wait  # `start` skips when the run exists already; the wait must not
    return wait


@task_group(tooltip="what C rejected with new seeds, and what is left over, as a run of its own")
def respin(branch: BaseOperator) -> None:
    """Cut the next round, start it and wait for it."""
    wait = start_and_wait(tasks.leftovers())
    # Skipped by the branch itself, not by what comes before: that would take the scheduler two rounds more.
    branch >> wait
