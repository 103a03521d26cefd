"""The task that takes one chunk through one stage, on a GPU worker."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowRescheduleException

from darkroom.flows import STAGES, Stage
from darkroom.orchestration.policies import INTERACTIVE
from darkroom.orchestration.triggers import Resumed

if TYPE_CHECKING:
    from darkroom.chunks.chunk import Lane
    from darkroom.chunks.report import Report
    from darkroom.errors import ChunkStopped
    from darkroom.orchestration.lane import Server
    from darkroom.store.batches import Batch

STOPPED_RETRY_S, LONGEST_RETRY_S = 3, 15
"""How soon a chunk that was asked to stop is offered again, to any server that takes some by then.

Twice as long each time that this comes again, up to the second; always the first, when somebody waits for it.
"""
STORE_RETRY_S = 30
"""How soon a chunk looks again whether the store takes its pictures."""
DOUBTED_TRIES = 2
"""So often a chunk whose every item fails goes to another host, before its items are blamed."""


class RunStage(BaseOperator):
    """Take one chunk through one stage on this worker's model server.

    A chunk that is asked to stop, whose server is not ready, whose store refuses or that a newer Darkroom has
    planned is put back and spends no try; one whose batch is paused waits in the triggerer, without a slot.
    """

    def __init__(self, *, stage_name: str, chunk_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage_name, self.chunk_id = stage_name, chunk_id

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Which chunk a map index stands for.

        No template field: Airflow would keep it in its database, which takes each chunk a call, and make
        `plan` a parent of every stage, which costs the scheduler a query a waiting chunk at each look.
        """
        self.chunk_id = self.chunk_id.resolve(context)

    def execute(self, context: Any) -> None:
        """Run the chunk."""
        from darkroom.annotation import annotated
        from darkroom.errors import ChunkPaused, ChunkStopped, NewerSchema, StoreUnavailable
        from darkroom.fleet.fence import is_hosts_fault
        from darkroom.live.totals import Totals
        from darkroom.orchestration.gate import fence_of
        from darkroom.orchestration.lane import choose_server
        from darkroom.orchestration.tasks import batch_of
        from darkroom.settings import settings

        batch, stage = batch_of(context), STAGES[self.stage_name]
        server, totals = choose_server(stage), Totals(settings().redis_url.get_secret_value())
        try:
            report, crawls = self._run(batch, stage, server, context)
        except ChunkPaused:
            totals.interrupted(stage.name, "paused")
            self.defer(trigger=Resumed(batch.batch_id), method_name="resumed")
        except ChunkStopped as stopped:  # goes on from the images that exist
            totals.interrupted(stage.name, "stopped")
            if not stopped.retryable:
                raise
            raise AirflowRescheduleException(_in(_stopped_retry_s(context))) from stopped
        except StoreUnavailable as error:
            totals.interrupted(stage.name, "stopped")
            self.log.warning("paused, for the store refuses; looking again in %d s: %s", STORE_RETRY_S, error)
            raise AirflowRescheduleException(_in(STORE_RETRY_S)) from error
        except NewerSchema as error:
            totals.interrupted(stage.name, "stopped")
            self.log.warning("put back for a host that is upgraded: %s", error)
            raise AirflowRescheduleException(_in(LONGEST_RETRY_S)) from error
        except Exception as error:
            totals.interrupted(stage.name, "failed")
            if server.name and is_hosts_fault(error):
                fence_of(server.name).strike(str(error))
            raise
        if server.name:
            if crawls:
                fence_of(server.name).strike(f"many times slower than the others: {report}")
            elif not report.out_of_time:
                fence_of(server.name).clear()
        with annotated(**report.figures):
            for line in report.lines():
                self.log.info(line)

    def resumed(self, context: Any, event: Any) -> None:
        """The batch is no longer paused."""
        self.execute(context)

    def _run(self, batch: "Batch", stage: Stage, server: "Server", context: Any) -> "tuple[Report, bool]":
        """What came of the chunk, and whether this host is many times slower than the others."""
        from darkroom.chunks.budget import Budget, measured_elsewhere
        from darkroom.chunks.chunk import run_chunk
        from darkroom.errors import ChunkStopped
        from darkroom.live.control import Control
        from darkroom.orchestration.gate import why_not_ready
        from darkroom.orchestration.lane import open_lane
        from darkroom.settings import settings

        items = batch.plan_chunk(self.chunk_id)
        names = [item.custom_id for item in (items[0], items[-1])]
        context["chunk_name"] = name = " … ".join(dict.fromkeys(names))
        self.log.info("batch %s, chunk %s: %d items, %s", batch.batch_id, self.chunk_id, len(items), name)
        self.log.info(
            "%s (%s) on %s, %d at once", stage.name, stage.model, server.name or "this host", stage.batch_size
        )
        control = Control(settings().redis_url.get_secret_value())
        with open_lane(stage, server) as lane:
            steered = _steered(lane, control, batch.batch_id)
            if stop := steered():
                raise stop
            if reason := why_not_ready(server.name):
                raise ChunkStopped(reason)
            doubts = context["ti"].try_number <= DOUBTED_TRIES
            budget = Budget(
                stage, len(items), batch.params().seconds_per_item,
                lambda: measured_elsewhere(lane.progress, batch.batch_id, stage.name, lane.host),
            )  # fmt: skip
            mine = replace(lane, should_stop=steered, doubts=doubts)
            return run_chunk(batch, stage, self.chunk_id, mine, budget.spent), budget.crawls


def _steered(lane: "Lane", control: Any, batch_id: str) -> "Callable[[], ChunkStopped | None]":
    """The lane's own reasons to stop, and those of whoever steers the batch."""
    from darkroom.errors import ChunkCancelled, ChunkPaused

    def look() -> "ChunkStopped | None":
        state = control.state(batch_id)
        if state == "paused":
            return ChunkPaused(f"batch {batch_id} is paused")
        if state == "cancelled":
            return ChunkCancelled(f"batch {batch_id} is cancelled")
        return lane.should_stop()

    return look


def _stopped_retry_s(context: Any) -> float:
    if context["params"]["priority"] == INTERACTIVE:
        return STOPPED_RETRY_S
    again = int(context.get("task_reschedule_count") or 0)
    return min(STOPPED_RETRY_S * 2.0 ** min(again, 8), LONGEST_RETRY_S)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
