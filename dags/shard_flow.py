"""
# shard_flow

Run one planned round of a batch: the same tasks as `image_flow`, started by it, never by hand.

* **Start**: `image_flow` (or an earlier round) starts it with `{"batch_id": ..., "round": 1}` under the
  run id `{batch_id}__round{n}`, and waits for it deferred, holding no slot.
* **What happens**: the round's chunks go through the batch's flow; `collect` writes the manifest's next
  generation; what is still rejected goes round again while `respins` allows.
* **Again**: clear any task; nothing is computed or counted twice.
"""

from airflow.sdk import dag

from darkroom.flows import FLOWS
from darkroom.orchestration.defaults import DAG_DEFAULTS, shard_params
from darkroom.orchestration.groups import run_flow
from darkroom.orchestration.respin import respin
from darkroom.orchestration.tasks import choose_flow, collect, take_round


# Rounds nest: a waiting parent must never keep its own child from starting.
@dag(
    schedule=None,
    description="Started by image_flow for what goes round again; never by hand.",
    doc_md=__doc__,
    params=shard_params(),
    tags=["darkroom"],
    max_active_runs=10_000,
    **DAG_DEFAULTS,
)
def shard_flow():
    chunk_ids = take_round()
    branch, collected = choose_flow(), collect()
    flows = [run_flow(flow, chunk_ids) for flow in FLOWS.values()]
    chunk_ids >> branch >> [*flows, collected]
    flows >> collected >> respin()


shard_flow()
