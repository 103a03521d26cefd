"""Many days of `daily_flow` at once, by Airflow's own backfills."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from darkroom.days import Daily
from darkroom.rest.api import AirflowApi

DAG_ID = "daily_flow"
REPROCESS = ("none", "failed", "completed")
_ALL_DAYS = 100
"""Runs that the API gives at most at once."""


@dataclass(frozen=True)
class Backfill:
    """Days from the first to the last, both among them."""

    api: AirflowApi
    daily: Daily
    first: date
    last: date
    reprocess: str = "none"
    """Of the days that have run: none, those that failed, all."""
    days_at_once: int = 0
    """0: as many as the settings say."""
    conf: dict[str, Any] = field(default_factory=dict)
    """Params of each day's run."""

    def days(self) -> list[date]:
        """The days that would run: those that have ended, without those that need not run again."""
        found = self.api.call("POST", "/api/v2/backfills/dry_run", json=self._body())["backfills"]
        return sorted(self._day(one) for one in found)

    def start(self) -> int:
        """Have Airflow run them; the number of the backfill.

        Raises:
            BadRequest: another backfill is under way.
        """
        return int(self.api.call("POST", "/api/v2/backfills", json=self._body())["id"])

    def complete(self, number: int) -> bool:
        """Whether another backfill may follow: Airflow looks only every 30 s whether one has ended."""
        return self.api.call("GET", f"/api/v2/backfills/{number}")["completed_at"] is not None

    def states(self, days: list[date]) -> dict[date, str]:
        """How the days' runs are: none, queued, running, success, failed."""
        states = dict.fromkeys(days, "none")
        query = {
            "run_type": "backfill", "logical_date_gte": self._body()["from_date"],
            "logical_date_lte": self._body()["to_date"], "limit": _ALL_DAYS, "order_by": "logical_date",
        }  # fmt: skip
        seen = 0
        while True:
            page = self.api.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns", params=query | {"offset": seen})
            seen += len(page["dag_runs"])
            states |= {day: run["state"] for run in page["dag_runs"] if (day := self._day(run)) in states}
            if seen >= page["total_entries"] or not page["dag_runs"]:
                return states

    def _day(self, told: dict[str, Any]) -> date:
        return self.daily.day_of(datetime.fromisoformat(told["logical_date"]))

    def _body(self) -> dict[str, Any]:
        return {
            "dag_id": DAG_ID,
            "from_date": self.daily.start(self.first).isoformat(),
            "to_date": self.daily.start(self.last).isoformat(),
            "reprocess_behavior": self.reprocess,
            "max_active_runs": self.days_at_once or self.daily.days_at_once,
            "dag_run_conf": self.conf,
        }
