"""
# image_flow

Run a batch of items through one of the flows `A`, `A_C`, `B_C`.

* **Start**: the form, REST or `darkroom submit`; one run per batch, its params are the whole interface.
* **What happens**: `plan` reads the source (of an HTTP API: has `pages_flow` fetch its pages, and waits
  without a slot) and cuts it into chunks; each chunk goes through its flow on
  whatever host takes it first (those of a large batch in runs of `shard_flow`: `run_shards`); `collect`
  writes the manifest and draws the contact sheet; what C rejected goes round again with new seeds, what is
  undone once more (`respin`, a run of `shard_flow`), and both are written when that has ended; `verdict`
  fails the run when more than `max_failed_ratio` of the items failed. With `then`, a function of yours sends
  items on to other flows, as batches of their own (docs/how-to/branch-on-results.md).
* **Again**: clear any task. Plans, parts, images and manifests are written once; what exists is not
  computed again. Start it again on the same `batch_id`: what is missing is computed, with `retry` also what
  failed.
* **When**: not before `not_before`; at its `deadline` whoever should know is told (Airflow's deadline
  alerts), and asked to, it is cancelled. With `callback_url`, `callback_flow` tells of its end.
* **Where**: `{store}/batches/{batch_id}/`; bad lines of the source are in `rejects.jsonl`.
* **Example**: `{"flow": "A_C", "source": "examples/prompts.jsonl"}`
"""

from airflow.sdk import dag

from darkroom.flows import FLOWS
from darkroom.orchestration.branching import then
from darkroom.orchestration.children import RunShards, respin
from darkroom.orchestration.deadlines import DEADLINE
from darkroom.orchestration.defaults import DAG_DEFAULTS, start_params
from darkroom.orchestration.groups import run_flow
from darkroom.orchestration.plan_task import Plan
from darkroom.orchestration.tasks import Collect, Verdict


@dag(
    schedule=None,
    description="Run a batch of prompts or pictures through A, A_C or B_C.",
    doc_md=__doc__,
    params=start_params(),
    deadline=DEADLINE,
    tags=["darkroom"],
    **DAG_DEFAULTS,
)
def image_flow():
    planned, collected, judged = Plan(task_id="plan"), Collect(task_id="collect"), Verdict(task_id="verdict")
    work = [*(run_flow(flow, planned.output) for flow in FLOWS.values()), RunShards(task_id="run_shards")]
    planned >> [*work, collected]
    work >> collected >> [(again := respin(collected)), judged]
    again >> judged
    then(judged)


image_flow()
