"""
# pages_flow

Fetch the pages of a batch whose source is an HTTP API: started by `image_flow`, never by hand.

* **Start**: the task `plan` of `image_flow` starts it as `{batch_id}__page00001` and waits for it and what it
  starts, deferred, holding no slot.
* **What happens**: `look` fetches the run's page. Where pages are numbered, the first answer says how many
  there are, and `fetch` gets the others side by side. Where each page leads to the next, `look` starts the
  run of the next page and this one takes its own page's items through the flow meanwhile. An API that says
  "later" (429) is asked again then, without a slot or a try; one that fails, five times.
* **Again**: clear any task. A page is written once; what is in the store is not fetched again. What is
  missing and why is in the store, too: `image_flow` judges it by `max_missing_ratio`.
* **Needs**: a table `[pages.<name>]` in `darkroom.toml`; see docs/how-to/paged-sources.md.
"""

from airflow.sdk import dag

from darkroom.flows import FLOWS
from darkroom.orchestration.defaults import DAG_DEFAULTS, page_params
from darkroom.orchestration.groups import run_flow
from darkroom.orchestration.pages import choose_way, fetch, look


# Each page of a chain is a run; none must keep the next from starting.
@dag(
    schedule=None,
    description="Started by image_flow for a source that is an HTTP API: fetches its pages.",
    doc_md=__doc__,
    params=page_params(),
    tags=["darkroom"],
    max_active_runs=10_000,
    **DAG_DEFAULTS,
)
def pages_flow():
    found = look()
    work = [fetch.expand(page=found), *(run_flow(flow, found) for flow in FLOWS.values())]
    found >> choose_way() >> work


pages_flow()
