"""A day of `daily_flow`: wait for its partition, name the run of `image_flow` on it, publish its manifest."""

import hashlib
from datetime import UTC, date, datetime
from typing import Any

from airflow.sdk import (
    Asset,
    BaseOperator,
    CronDataIntervalTimetable,
    Param,
    get_current_context,
    task,
)
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from darkroom.days import Daily, batch_id_of, filled, given
from darkroom.errors import BadRequest
from darkroom.orchestration.defaults import start_params
from darkroom.orchestration.policies import BACKFILL
from darkroom.orchestration.triggers import PartitionThere
from darkroom.settings import settings

WORKER = "image_flow"
"""The DAG that does a day's work: a day is a batch like any other."""
MANIFEST = Asset("darkroom_daily")
"""The manifest of a day: a DAG with this asset as its schedule runs after each day."""
_BY_THE_CLOCK = ("scheduled", "backfill")
"""Types of runs whose interval says the day."""
_ASKED = ("flow", "source", "options", "respins", "max_failed_ratio")


def schedule() -> CronDataIntervalTimetable | None:
    """When days are run; without the setting, never.

    Raises:
        ParamValidationError: the setting asks for what `image_flow` would refuse.
    """
    daily = settings().daily
    if daily is None:
        return None
    params = ParamsDict(start_params())
    params.update(_conf(daily, date.min))
    params.validate()
    return CronDataIntervalTimetable(daily.cron, daily.time_zone)


def pace() -> dict[str, Any]:
    """How many days are run, as arguments of the DAG."""
    daily = settings().daily
    if daily is None:
        return {}
    return {
        "start_date": daily.start(daily.first_day) if daily.first_day else None,
        "catchup": daily.first_day is not None,
        "max_active_runs": daily.days_at_once,
    }


def daily_params() -> dict[str, Param]:
    """What a day is started with by hand, or a backfill."""
    return {
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="Of a run by hand: the day, as 2026-11-20. Empty: the last one that was due.",
        ),
        "redo": Param(
            0,
            type="integer",
            minimum=0,
            maximum=999,
            title="Redo",
            description="0: compute what is missing or failed. A number: all of it again, as a new batch "
            "daily-DAY-redoNUMBER.",
        ),
    }


class WaitForPartition(BaseOperator):
    """Defer until the partition of the day is there; then name the run that works on it.

    Returns it as `TriggerDagRunOperator` takes it: the same on every try, another when the day is run again.
    """

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """Look once, and hand the wait to the triggerer.

        Raises:
            BadRequest: the day has not ended, or its batch was run with other settings.
        """
        from darkroom.orchestration.tasks import store_patience
        from darkroom.plans.partition import is_there

        daily, day = _daily(), _day(context)
        source, marker = filled(daily.source, day), daily.marker and filled(daily.marker, day)
        with store_patience():
            there = is_there(source, marker, settings().input_roots)
        until = daily.waits_until(day)
        if not there and datetime.now(UTC) < until:
            self.log.info("waiting until %s for %s", until.isoformat(), marker or source)
            self.defer(trigger=PartitionThere(source, marker, until.timestamp()), method_name="looked")
        return self.looked(context, there)

    def looked(self, context: Any, event: bool) -> list[dict[str, Any]]:
        """The partition is there, or it is too late."""
        from darkroom.orchestration.tasks import store_patience

        daily, day = _daily(), _day(context)
        if not event:
            what = filled(daily.marker or daily.source, day)
            said = f"{what} is not there, {daily.wait_h:g} h after the run of {day} was due"
            raise AirflowSkipException(said) if daily.missing == "skip" else AirflowFailException(said)
        with store_patience():
            return [_run(daily, day, context)]


@task(outlets=[MANIFEST])
def publish(runs: list[dict[str, Any]]) -> str:
    """Say where the day's manifest is, in an event of the asset `darkroom_daily`."""
    from darkroom.orchestration.tasks import batch_of
    from darkroom.results.manifest import current

    context = get_current_context()
    run_id, conf = runs[0]["trigger_run_id"], runs[0]["conf"]
    state = context["ti"].get_dagrun_state(dag_id=WORKER, run_id=run_id)
    if state != "success":
        raise AirflowFailException(
            f"run {run_id} of {WORKER} {state}: see its log, or darkroom show {conf['batch_id']}. "
            "To compute what is missing or failed, clear this run"
        )
    summary = current(batch_of({"params": conf, "run_id": run_id}))
    if summary is None:
        raise AirflowFailException(f"run {run_id} of {WORKER} left no manifest")
    context["outlet_events"][MANIFEST].extra = {
        "day": _day(context).isoformat(),
        "batch_id": summary.batch_id,
        "generation": summary.generation,
        "manifest": summary.uris["manifest.parquet"],
        "items": summary.items,
        "completed": summary.completed,
        "rejected": summary.rejected,
        "failed": summary.failed,
        "timed_out": summary.timed_out,
    }
    return f"{summary.batch_id}: {summary}"


def _daily() -> Daily:
    return given(settings().daily)


def _day(context: Any) -> date:
    """The day that a run is for.

    Raises:
        BadRequest: it has not ended: its batch would never get the rest.
    """
    daily, run = _daily(), context["dag_run"]
    if run.run_type in _BY_THE_CLOCK:
        return daily.day_of(run.data_interval_start)
    asked = context["params"]["day"]
    if asked is None:
        return daily.last_due(run.run_after)
    day = date.fromisoformat(asked)
    if day >= daily.day_of(run.run_after):
        raise BadRequest(f"{day} has not ended in {daily.time_zone}")
    return day


def _run(daily: Daily, day: date, context: Any) -> dict[str, Any]:
    """The run of `image_flow` for a day.

    Raises:
        BadRequest: the settings have changed since the day's batch was first run.
    """
    from darkroom.orchestration.tasks import batch_of

    run = context["dag_run"]
    conf = _conf(daily, day, int(context["params"]["redo"]))
    batch = batch_of({"params": conf, "run_id": run.run_id})
    known = batch.index() is not None
    if known:
        before = batch.request().model_dump()
        for name in _ASKED:
            if before[name] != conf[name]:
                raise BadRequest(
                    f"batch {batch.batch_id} was run with {name} {before[name]!r}; the settings now say "
                    f"{conf[name]!r}. Run the day with a new redo number: all of it goes into a new batch"
                )
    # Whoever runs a day again wants another run of image_flow; a retry of this task wants the same one.
    again = hashlib.sha256(f"{run.run_id} {run.clear_number}".encode()).hexdigest()[:8]
    return {
        "trigger_run_id": f"{batch.batch_id}__{again}",
        "conf": conf | {"retry": known, "priority": BACKFILL if run.run_type == "backfill" else "normal"},
    }


def _conf(daily: Daily, day: date, redo: int = 0) -> dict[str, Any]:
    """What `image_flow` is asked for."""
    return {
        "batch_id": batch_id_of(day, redo),
        "source": filled(daily.source, day),
        "flow": daily.flow,
        "options": daily.options,
        "respins": daily.respins,
        "max_failed_ratio": daily.max_failed_ratio,
        **({"then": daily.then} if daily.then else {}),
    }
