"""One mapped task group per flow: a map index is a chunk, and goes through to the end before the next."""

from datetime import timedelta
from typing import Any

from airflow.sdk import task_group
from airflow.sdk.definitions.xcom_arg import XComArg

from darkroom.flows import STAGES, Flow
from darkroom.orchestration.stage_task import RunStage


def run_flow(flow: Flow, chunk_ids: XComArg) -> Any:
    """The flow's stages one behind the other, mapped over the chunks.

    The group function returns nothing on purpose: if it gave a task's output, edges drawn to the group
    would reach its last task only, and a branch before it would skip nothing.
    """

    @task_group(group_id=flow.group_id, tooltip=flow.summary)
    def stages(chunk_id: str) -> None:
        previous = None
        for depth, name in enumerate(flow.stages, start=1):
            stage = STAGES[name]
            ran = RunStage(
                task_id=stage.name,
                stage_name=stage.name,
                chunk_id=chunk_id,
                execution_timeout=timedelta(seconds=stage.chunk_timeout_s),
                map_index_template="{{ chunk_name }}",
                weight_rule="absolute",
                priority_weight=depth,  # what is further along goes first: fewer chunks half done
            )
            if previous is not None:
                previous >> ran
            previous = ran

    return stages.expand(chunk_id=chunk_ids)
