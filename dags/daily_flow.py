"""
# daily_flow

Run the day that ended through `image_flow`, as the batch `daily-<day>`, when its partition is there.

* **Start**: by the schedule that the table `[daily]` in `darkroom.toml` sets (without it, never); as a
  backfill of many days, by UI, REST or `darkroom backfill`; by hand, for one `day`.
* **What happens**: `wait_for_partition` waits, holding no slot, until the day's source (or its marker) is
  there, `wait_h` hours at most: then the run fails or is skipped, as set. `start` starts a run of
  `image_flow`, `wait` waits for it without a slot, `publish` tells of the manifest in an event of the asset
  `darkroom_daily`, which another DAG may have as its schedule.
* **Again**: clear the whole run, start it by hand, or backfill it with *reprocess*: what is missing or failed
  is computed and the manifest gets its next generation. Clearing `wait` or `publish` alone only looks again.
  With a number as `redo` all of the day is done again, as a new batch. When the settings have changed since,
  that is the only way.
* **Races**: none; two runs of a day may compute an item twice, and write it once. The days of a backfill give
  way to all other work.
* **More**: docs/how-to/schedule.md
"""

from airflow.sdk import dag

from darkroom.orchestration.children import start_and_wait
from darkroom.orchestration.daily import WORKER, WaitForPartition, daily_params, pace, publish, schedule
from darkroom.orchestration.defaults import DAG_DEFAULTS


@dag(
    schedule=schedule(),
    description="Run each day's partition through image_flow; backfills of many days.",
    doc_md=__doc__,
    params=daily_params(),
    tags=["darkroom"],
    **pace(),
    **DAG_DEFAULTS,
)
def daily_flow():
    runs = WaitForPartition(task_id="wait_for_partition").output
    start_and_wait(runs, WORKER) >> publish(runs)


daily_flow()
