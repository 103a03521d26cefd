"""
# housekeeping

Remove what has grown old: Airflow's own records, live numbers, logs; batches and pictures only if told to.

* **Start**: every night, by the table `[housekeeping]` in `darkroom.toml`; by hand, also with other limits,
  or only to look: `darkroom clean`.
* **What happens**: one task for each kind of thing, each with its own limit in days; a kind without a limit
  is skipped, and one that fails stops no other. Each says in its log, and returns, what it removed: how many,
  how large, how old. Airflow's records go by Airflow's own `db clean`, run beside the triggerer.
* **Again**: clear any task; what is gone is gone.
* **Races**: nothing of a run that has not ended goes, however old. A batch that is started again while it is
  removed begins anew when that is done. Pictures of a batch go at the earliest one run after the batch.
* **Example**: `{"dry_run": true, "batches_days": 90}`
* **More**: docs/how-to/operate.md
"""

from airflow.sdk import dag

from darkroom.orchestration.defaults import DAG_DEFAULTS
from darkroom.orchestration.housekeeping import (
    CleanBatches,
    CleanImages,
    CleanLogs,
    CleanMetadata,
    CleanProgress,
    housekeeping_params,
    schedule,
)


@dag(
    schedule=schedule(),
    catchup=False,
    description="Removes old records, logs and live numbers; batches and pictures only if told to.",
    doc_md=__doc__,
    params=housekeeping_params(),
    tags=["darkroom"],
    max_active_runs=1,
    **DAG_DEFAULTS,
)
def housekeeping():
    CleanMetadata(task_id="clean_metadata")
    CleanProgress(task_id="clean_progress")
    CleanLogs(task_id="clean_logs")
    CleanBatches(task_id="clean_batches")
    CleanImages(task_id="clean_images")


housekeeping()
