"""
# callback_flow

Tell who asked for it that a batch has ended, or is late: one signed POST (Standard Webhooks).

* **Start**: Airflow starts it when a run of `image_flow` with a `callback_url` ends, however it ends, or
  misses its deadline. One run per event, under `{run}__batch.completed`, so an event is told once.
* **What happens**: `compose` fixes what is said; `post` signs and sends it. A receiver that fails is tried
  again for a day, at growing intervals, holding no slot; 410 ends it. Nothing waits for it.
* **Again**: clear `post`: the same message with the same id.
* **Needs**: `DARKROOM_CALLBACK_HOSTS` and the connection `darkroom_callback`; see docs/how-to/callbacks.md.
"""

from airflow.sdk import dag

from darkroom.orchestration.defaults import DAG_DEFAULTS, callback_params
from darkroom.orchestration.telling import compose, post


# One run may wait for hours for its receiver; it must not keep the others from theirs.
@dag(
    schedule=None,
    description="Started when a batch ends or is late, to tell who asked for it.",
    doc_md=__doc__,
    params=callback_params(),
    tags=["darkroom"],
    max_active_runs=10_000,
    **DAG_DEFAULTS,
)
def callback_flow():
    post(compose())


callback_flow()
