"""The first task of a run: which chunks it takes, and so which of its branches.

One task, not two: each that a run has more is felt by who waits for a single picture.
"""

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.branch import BranchMixIn
from airflow.sdk import BaseOperator

from darkroom.orchestration import tasks
from darkroom.orchestration.children import LONGEST_WAIT, start_run
from darkroom.orchestration.triggers import PagesEnded

if TYPE_CHECKING:
    from darkroom.plans.pages import Pages


class _Branching(BaseOperator, BranchMixIn):
    """What it returns is mapped over in the branch that it leads to."""

    inherits_from_skipmixin = True

    def lead(self, context: Any, chunk_ids: list[str]) -> list[str]:
        """Few chunks to their flow, many to runs of their own, and none straight to `collect`.

        Airflow has a task that skips others end by an exception, without a result; so what its task runner
        does then is done here.
        """
        from airflow.sdk.exceptions import DownstreamTasksSkipped
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import SkipDownstreamTasks

        try:
            self.do_branch(context, tasks.choose_branch(chunk_ids))
        except DownstreamTasksSkipped as skipped:
            task_runner.SUPERVISOR_COMMS.send(SkipDownstreamTasks(tasks=list(skipped.tasks)))
        return chunk_ids


class TakeChunks(_Branching):
    """The chunks of a round, or of a shard of it, that another run has planned."""

    def execute(self, context: Any) -> list[str]:
        """As the plan says."""
        return self.lead(context, tasks.take_chunks())


class Plan(_Branching):
    """Read the source, fix the plan; the chunks that this run takes itself: none of a batch of shards.

    Where the source is an HTTP API, runs of `pages_flow` fetch its pages, and this waits for them deferred,
    without a slot; how many runs that takes is known only when they have been.
    """

    def execute(self, context: Any) -> list[str]:
        """Plan at once what is there; else have it fetched."""
        tasks.admit()
        with tasks.store_patience():
            pages = _pages(context)
            if pages is not None and (first := pages.begin_with()) is not None:
                self._await(pages, first, context)
        return self._plan(pages, context)

    def fetched(self, context: Any, event: dict[str, Any]) -> list[str]:
        """The runs have ended, or it is too late for them: the store says what is there."""
        if event["late"]:
            self.log.warning("the runs of pages_flow have not ended in time")
        with tasks.store_patience():
            pages = _pages(context)
            if pages is not None and not event["late"] and (more := pages.grown(event["first"])) is not None:
                self.log.info("there are more pages than at first: going on with page %d", more)
                self._await(pages, more, context, event["until"])
        return self._plan(pages, context)

    def _await(self, pages: "Pages", first: int, context: Any, until: float | None = None) -> None:
        from darkroom.orchestration.pages import PAGES_FLOW, first_run

        run = first_run(pages, first, context, until)
        start_run(PAGES_FLOW, **run)
        trigger = PagesEnded(
            PAGES_FLOW, run["run_id"], pages.batch.batch_id, first=first, until=run["conf"]["until"]
        )
        self.defer(trigger=trigger, method_name="fetched", timeout=LONGEST_WAIT)

    def _plan(self, pages: "Pages | None", context: Any) -> list[str]:
        if pages is not None:
            from darkroom.orchestration.pages import commit

            with tasks.store_patience():
                for page, why in commit(pages).items():
                    self.log.warning("page %d is missing: it %s", page, why)
        return self.lead(context, tasks.plan())


def _pages(context: Any) -> "Pages | None":
    """The pages of the run's batch; None where it has none, or is planned already."""
    from darkroom.orchestration.pages import pages_of
    from darkroom.paging import is_url
    from darkroom.plans.intake import keep_request

    batch = tasks.batch_of(context)
    if not is_url(context["params"]["source"]) or batch.index() is not None:
        return None
    keep_request(batch, dict(context["params"]))
    return pages_of(batch)
