"""
# shard_flow

Run one planned round of a batch, or one shard of a large round: the same tasks as `image_flow`, started by
it, never by hand.

* **Start**: `image_flow` (or an earlier round) starts it with `{"batch_id": ..., "round": 1}` under the
  run id `{batch_id}__round1`, or once per shard as `{batch_id}__shard000`, and waits for it deferred,
  holding no slot.
* **What happens**: a shard's chunks go through the batch's flow, and that is all: who started it starts the
  next when it has handed out most of them, so that a batch goes in plan order, and collects. A round writes
  the manifest's next generation, and what is still rejected goes round again while `respins` allows.
* **Again**: clear any task; nothing is computed or counted twice.
"""

from airflow.sdk import dag

from darkroom.flows import FLOWS
from darkroom.orchestration.children import RunShards, respin
from darkroom.orchestration.defaults import DAG_DEFAULTS, shard_params
from darkroom.orchestration.groups import run_flow
from darkroom.orchestration.plan_task import TakeChunks
from darkroom.orchestration.tasks import Collect


# Rounds nest: who waits must never keep the one it waits for from starting.
@dag(
    schedule=None,
    description="Started by image_flow for shards of large batches and for what goes round again.",
    doc_md=__doc__,
    params=shard_params(),
    tags=["darkroom"],
    max_active_runs=10_000,
    **DAG_DEFAULTS,
)
def shard_flow():
    taken, collected = TakeChunks(task_id="take_chunks"), Collect(task_id="collect")
    work = [*(run_flow(flow, taken.output) for flow in FLOWS.values()), RunShards(task_id="run_shards")]
    taken >> [*work, collected]
    work >> collected >> respin(collected)


shard_flow()
