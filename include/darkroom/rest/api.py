"""Airflow's REST API v2, as far as Darkroom's commands need it.

Source: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Any

from tenacity import (
    retry,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_random_exponential,
)

from darkroom.errors import BadRequest
from darkroom.records import batch_id_for
from darkroom.rest.session import AirflowSession, ApiError, RunExists

__all__ = ["CHILD_DAG_ID", "DAG_ID", "FINAL_STATES", "AirflowApi", "ApiError", "Run", "RunExists"]

DAG_ID, CHILD_DAG_ID, PAGES_DAG_ID = "image_flow", "shard_flow", "pages_flow"
_RIDE_OUT_S = 90
ride_out = retry(
    retry=retry_if_exception_type(ApiError), stop=stop_after_delay(_RIDE_OUT_S),
    wait=wait_exponential(0.5, max=5), reraise=True,
)  # fmt: skip
"""Who watches a run is not sent away because the api-server or PostgreSQL restarts."""
_JSON = {"Accept": "application/json"}
_PAGE = 100
"""Rows that the API gives at most at once."""
_LOOKS = 10
"""So often at most `end_runs` looks for runs that were started while it ended others."""
_TRIES = 5
"""To end a run."""
FINAL_STATES = ("success", "failed")


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run."""

    run_id: str
    state: str
    """queued, running, success, failed."""
    conf: dict[str, Any]
    """What it was started with; params left at their defaults are not in it."""

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Run":
        """As the API tells it."""
        return cls(str(told["dag_run_id"]), str(told["state"]), dict(told["conf"] or {}))

    @property
    def batch_id(self) -> str:
        """The batch that it works on."""
        return batch_id_for(self.conf.get("batch_id"), self.run_id)


class AirflowApi(AirflowSession):
    """Runs, tasks and pools of the Airflow that a session leads to."""

    def trigger(
        self, dag_id: str, run_id: str, conf: dict[str, Any], run_after: datetime | None = None
    ) -> str:
        """Start a run. A run id that is taken is refused, so a repeated call starts one run.

        With `run_after` it is queued at once and begins at that time.

        Raises:
            BadRequest: the conf breaks the DAG's params.
            RunExists: the run id is taken.
        """
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        if run_after is not None:
            body["run_after"] = run_after.isoformat()
        return str(self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    @retry(
        retry=retry_if_exception_type(ApiError), stop=stop_after_delay(_RIDE_OUT_S),
        wait=wait_exponential(0.2, max=2), reraise=True,
    )  # fmt: skip
    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed; rides out a restart of the API."""
        return str(self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def failure(self, dag_id: str, run_id: str) -> str | None:
        """The first task of a run that failed, and the last error in its log: `plan: ...`."""
        failed = [ti for ti in self.task_instances(dag_id, run_id) if ti["state"] == "failed"]
        if not failed:
            return None
        first = min(failed, key=lambda ti: str(ti["start_date"]))
        task = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{first['task_id']}"
        path = f"{task}/logs/{first['try_number']}"
        log = self.call("GET", path, params={"map_index": first["map_index"]}, headers=_JSON)["content"]
        errors = [
            error["exc_value"]
            for event in log
            if isinstance(event, dict)
            for error in (event.get("error_detail") or [])[:1]  # then come those that it stems from
        ]
        return f"{first['task_id']}: {errors[-1] if errors else 'see its log'}"

    def clear(self, dag_id: str, run_id: str) -> None:
        """Have all tasks of a run run again."""
        self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/clear", json={"dry_run": False})

    # Airflow takes the rows of all its tasks for it, which can deadlock with the scheduler: answered by 500.
    @retry(
        retry=retry_if_exception_type(ApiError), stop=stop_after_attempt(_TRIES),
        wait=wait_random_exponential(0.2, max=2), reraise=True,
    )  # fmt: skip
    def fail(self, dag_id: str, run_id: str) -> None:
        """End a run: its tasks are stopped and it counts as failed."""
        self.call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})

    def note(self, dag_id: str, run_id: str, text: str) -> None:
        """Write a note on a run, over the one it has."""
        self.call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json={"note": text})

    def end_runs(self, batch_id: str) -> list[str]:
        """End all runs of a batch; their ids, in order.

        The parent first, else it would take its children's end for their work done and start others. Looks
        again until there are none: one may have been started meanwhile.

        Raises:
            BadRequest: no run works on the batch.
        """
        ended: list[str] = []
        newest = self.newest_run(DAG_ID, batch_id)  # one made by the form has its name in no conf
        for _ in range(_LOOKS):
            parents = [run.run_id for run in self.active_runs(DAG_ID, batch_id)]
            if newest.state not in FINAL_STATES and newest.run_id not in (*parents, *ended):
                parents.append(newest.run_id)
            runs = [(DAG_ID, run_id) for run_id in parents]
            for child in (CHILD_DAG_ID, PAGES_DAG_ID):
                runs += [(child, run.run_id) for run in self.active_runs(child, batch_id)]
            if not runs:
                break
            for dag_id, run_id in runs:
                self.fail(dag_id, run_id)
                ended.append(run_id)
        return ended

    def wait(self, dag_id: str, run_id: str, timeout_s: float) -> str:
        """The final state of a run.

        Raises:
            ApiError: it has not ended in time.
        """
        until = time.monotonic() + timeout_s
        while (state := self.run_state(dag_id, run_id)) not in FINAL_STATES:
            if time.monotonic() > until:
                raise ApiError(f"run {run_id} of {dag_id} is still {state} after {timeout_s:.0f} s")
            time.sleep(0.5)
        return state

    def newest_run(self, dag_id: str, batch_id: str) -> "Run":
        """The newest run that works on a batch, whether its first or a retry.

        Raises:
            BadRequest: there is none.
        """
        if (run := self.find_run(dag_id, batch_id)) is None:
            raise BadRequest(f"no run of {dag_id} works on batch {batch_id!r}; see: darkroom batches")
        return run

    def find_run(self, dag_id: str, batch_id: str) -> "Run | None":
        """As `newest_run`, if there is one."""
        # A name that was given stands in the run's conf; one made from the run's id does not.
        runs = chain(self._runs(dag_id, conf_contains=batch_id), self._runs(dag_id))
        return next((run for run in runs if run.batch_id == batch_id), None)

    def runs_of_batch(self, dag_id: str, batch_id: str, *states: str) -> list["Run"]:
        """All runs that were started with a batch's name, the newest first; in `states` only, if given."""
        runs = self._runs(dag_id, conf_contains=batch_id, state=list(states))
        return [run for run in runs if run.batch_id == batch_id]

    def active_runs(self, dag_id: str, batch_id: str) -> list["Run"]:
        """Those of `runs_of_batch` that have not ended."""
        return self.runs_of_batch(dag_id, batch_id, "queued", "running")

    def newest_runs(self, dag_id: str) -> list["Run"]:
        """The last 100 runs, the newest first."""
        return list(islice(self._runs(dag_id), _PAGE))

    def _runs(self, dag_id: str, **query: Any) -> Iterator["Run"]:
        """Runs, the newest first, page by page as they are looked at."""
        seen = 0
        while True:
            query |= {"order_by": "-run_after", "limit": _PAGE, "offset": seen}
            page = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)
            yield from map(Run.of, page["dag_runs"])
            seen += len(page["dag_runs"])
            if seen >= page["total_entries"] or not page["dag_runs"]:
                return

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", path, params={"limit": _PAGE, "offset": len(found)})
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def pools(self) -> dict[str, int]:
        """Slots of each pool."""
        pools = self.call("GET", "/api/v2/pools", params={"limit": 100})["pools"]
        return {pool["name"]: int(pool["slots"]) for pool in pools}

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Make a pool, or change it.

        Raises:
            ApiError: Airflow does not take it.
        """
        pool = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        action = {"action": "create", "action_on_existence": "overwrite", "entities": [pool]}
        done = self.call("PATCH", "/api/v2/pools", json={"actions": [action]})["create"]
        if name not in done["success"]:
            raise ApiError(f"Airflow does not take the pool {name}: {done['errors']}")
