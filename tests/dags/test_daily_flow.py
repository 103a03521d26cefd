"""`daily_flow`: its edges, its schedule across clock changes, and which run it starts for which day."""

import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pendulum
import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
    ParamValidationError,
    TaskDeferred,
)
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

from darkroom.errors import BadRequest
from darkroom.orchestration import daily
from darkroom.orchestration.dag_docs import load_dags
from darkroom.plans.intake import plan_batch
from darkroom.results.manifest import collect
from darkroom.settings import REPOSITORY, settings
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store

DAY = date(2026, 11, 19)
PROMPT = json.dumps({"custom_id": "a", "prompt": "a red circle"})


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """`[daily]`, changed as asked; partitions and the store lie in `tmp_path`."""

    def change(**more):
        table = {"source": f"{tmp_path}/{{day}}.jsonl", "flow": "A", "time_zone": "Europe/Berlin", **more}
        monkeypatch.setenv("DARKROOM_DAILY", json.dumps(table))
        settings.cache_clear()

    monkeypatch.setenv("DARKROOM_SOURCE_ROOTS", json.dumps([str(tmp_path)]))
    monkeypatch.setenv("DARKROOM_STORE", (tmp_path / "store").as_uri())
    change()
    yield change
    monkeypatch.undo()
    settings.cache_clear()


def context(run_type="scheduled", day=DAY, run_id="run", clear_number=0, now=None, asked=None, redo=0):
    """What Airflow tells a task of its run."""
    run = SimpleNamespace(
        run_type=run_type,
        run_id=run_id,
        clear_number=clear_number,
        data_interval_start=settings().daily.start(day) if run_type != "manual" else None,
        run_after=now or datetime.now(UTC),
    )
    return {"dag_run": run, "params": {"day": asked, "redo": redo}}


def named(**of):
    """The run that `wait_for_partition` names when the partition is there."""
    (run,) = daily.WaitForPartition(task_id="wait_for_partition").looked(context(**of), True)
    return run


def planned(tmp_path):
    """The batch of a day that was run."""
    (tmp_path / f"{DAY}.jsonl").write_text(PROMPT)
    batch = Batch(open_store(settings().store_url), f"daily-{DAY}")
    plan_batch(batch, named()["conf"], settings())
    return batch


def test_it_waits_starts_waits_and_publishes(dags):
    edges = {task.task_id: set(task.downstream_task_ids) for task in dags["daily_flow"].tasks}
    assert edges == {
        "wait_for_partition": {"start", "wait", "publish"},
        "start": {"wait"},
        "wait": {"publish"},
        "publish": set(),
    }


def test_its_manifest_is_the_only_outlet(dags):
    outlets = {task.task_id: [asset.name for asset in task.outlets] for task in dags["daily_flow"].tasks}
    assert {name: assets for name, assets in outlets.items() if assets} == {"publish": ["darkroom_daily"]}


def test_without_the_setting_it_never_runs_by_itself(dags):
    assert not dags["daily_flow"].timetable.can_be_scheduled


def test_the_setting_gives_it_its_schedule(setting):
    setting(at="02:30", first_day="2026-11-01", days_at_once=5)
    dag = load_dags(REPOSITORY / "dags")["daily_flow"]
    assert dag.timetable == daily.CronDataIntervalTimetable("30 2 * * *", "Europe/Berlin")
    assert (dag.catchup, dag.max_active_runs) == (True, 5)
    assert dag.start_date == datetime(2026, 11, 1, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong", [{"flow": "C_A"}, {"options": {"paint": {}}}, {"options": {"generate": {"steps": 1000}}}]
)
def test_a_setting_that_image_flow_would_refuse_is_refused_when_it_is_read(setting, wrong):
    setting(**wrong)
    with pytest.raises(ParamValidationError):
        daily.schedule()


@pytest.mark.parametrize("at", ["00:00", "02:00", "02:30", "03:00", "23:59"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/Santiago", "Australia/Lord_Howe"])
def test_each_day_of_a_year_has_one_interval_and_it_begins_where_the_setting_says(setting, at, zone):
    setting(at=at, time_zone=zone)
    told = settings().daily
    timetable = CronDataIntervalTimetable(told.cron, told.time_zone)
    first, last = date(2026, 1, 1), date(2026, 12, 31)
    window = TimeRestriction(pendulum.instance(told.start(first)), pendulum.instance(told.start(last)), True)
    found, info = [], None
    while info := timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=window):
        found.append((info.data_interval.start, info.data_interval.end, info.run_after))
    days = [first + timedelta(days=n) for n in range(365)]
    assert found == [(told.start(day), told.due(day), told.due(day)) for day in days]
    assert [told.day_of(start) for start, _, _ in found] == days


def test_a_run_of_the_clock_is_for_the_day_of_its_interval(setting):
    setting(at="02:30")
    for run_type in ("scheduled", "backfill"):
        assert named(run_type=run_type, day=date(2026, 10, 25))["conf"]["batch_id"] == "daily-2026-10-25"


def test_a_run_by_hand_is_for_the_day_asked_for_or_the_last_that_was_due(setting):
    setting(at="02:30")
    night = datetime(2026, 11, 21, 0, 0, tzinfo=UTC)  # one o'clock in Berlin
    assert named(run_type="manual", now=night)["conf"]["batch_id"] == "daily-2026-11-19"
    for asked in ("2026-11-20", "2026-03-29"):
        assert named(run_type="manual", now=night, asked=asked)["conf"]["batch_id"] == f"daily-{asked}"


def test_a_day_that_has_not_ended_is_refused(setting):
    by_hand = context("manual", now=datetime(2026, 11, 20, 22, 59, tzinfo=UTC), asked="2026-11-20")
    with pytest.raises(BadRequest, match="2026-11-20 has not ended in Europe/Berlin"):
        daily.WaitForPartition(task_id="wait_for_partition").execute(by_hand)


def test_the_days_of_a_backfill_are_started_below_all_others(setting):
    assert named(run_type="backfill")["conf"]["priority"] == "backfill"
    assert named()["conf"]["priority"] == "normal"


def test_a_try_names_the_same_run_and_a_cleared_run_another_one(setting):
    assert named() == named()
    ids = [run["trigger_run_id"] for run in (named(), named(clear_number=1), named(run_id="other"))]
    assert len(set(ids)) == 3
    assert all(run_id.startswith(f"daily-{DAY}__") for run_id in ids)


def test_a_second_run_of_a_day_also_does_what_failed(setting, tmp_path):
    assert named()["conf"]["retry"] is False
    planned(tmp_path)
    assert named()["conf"]["retry"] is True


def test_a_day_may_be_backfilled_that_the_schedule_ran(setting, tmp_path):
    batch = planned(tmp_path)
    index = plan_batch(batch, named(run_type="backfill")["conf"], settings())
    assert index == batch.index()


def test_a_changed_setting_gives_one_clear_error_and_redo_another_batch(setting, tmp_path):
    planned(tmp_path)
    setting(respins=3)
    with pytest.raises(BadRequest, match="daily-2026-11-19 was run with respins 1; the settings now say 3"):
        named()
    assert named(redo=1)["conf"]["batch_id"] == "daily-2026-11-19-redo1"
    assert named(redo=1)["conf"]["retry"] is False


def test_a_partition_that_is_there_is_not_waited_for(setting, tmp_path):
    (tmp_path / f"{DAY}.jsonl").write_text(PROMPT)
    (run,) = daily.WaitForPartition(task_id="wait_for_partition").execute(context())
    assert run == named()


def test_a_missing_partition_is_waited_for_without_a_slot(setting, tmp_path):
    setting(wait_h=24 * 31, marker=f"{tmp_path}/{{day}}_SUCCESS")
    yesterday = settings().daily.last_due(datetime.now(UTC))
    with pytest.raises(TaskDeferred) as deferred:
        daily.WaitForPartition(task_id="wait_for_partition").execute(context(day=yesterday))
    trigger = deferred.value.trigger
    assert (trigger.source, trigger.marker) == (
        f"{tmp_path}/{yesterday}.jsonl",
        f"{tmp_path}/{yesterday}_SUCCESS",
    )
    assert trigger.until == settings().daily.waits_until(yesterday).timestamp()


@pytest.mark.parametrize(
    ("missing", "raised"), [("fail", AirflowFailException), ("skip", AirflowSkipException)]
)
def test_a_partition_that_does_not_come_fails_or_skips_the_run_as_set(setting, missing, raised):
    setting(missing=missing)
    with pytest.raises(raised, match=r"10-01\.jsonl is not there, 12 h after the run of 2026-10-01 was due"):
        daily.WaitForPartition(task_id="wait_for_partition").execute(context(day=date(2026, 10, 1)))


def publish(monkeypatch, state, run):
    """What `publish` puts into the event when the day's run ended so."""
    event = SimpleNamespace(extra={})
    ti = SimpleNamespace(get_dagrun_state=lambda dag_id, run_id: state)
    told = context() | {"ti": ti, "outlet_events": {daily.MANIFEST: event}}
    monkeypatch.setattr(daily, "get_current_context", lambda: told)
    daily.publish.function([run])
    return event.extra


def test_the_event_of_a_day_says_where_its_manifest_is_and_what_is_in_it(setting, tmp_path, monkeypatch):
    summary = collect(planned(tmp_path))
    extra = publish(monkeypatch, "success", named())
    assert extra["manifest"] == summary.uris["manifest.parquet"]
    assert (extra["day"], extra["batch_id"], extra["generation"]) == (f"{DAY}", f"daily-{DAY}", 1)
    assert (extra["items"], extra["completed"], extra["failed"]) == (1, 0, 1)


def test_a_day_whose_run_failed_is_not_published_whatever_manifest_there_is(setting, tmp_path, monkeypatch):
    collect(planned(tmp_path))
    with pytest.raises(AirflowFailException, match=rf"daily-{DAY}__\w+ of image_flow failed: "):
        publish(monkeypatch, "failed", named())


def test_without_the_setting_a_run_by_hand_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("DARKROOM_DAILY", raising=False)
    settings.cache_clear()
    run = {"dag_run": SimpleNamespace(run_type="manual"), "params": {"day": None, "redo": 0}}
    with pytest.raises(BadRequest, match=r"no table \[daily\]"):
        daily.WaitForPartition(task_id="wait_for_partition").execute(run)


def test_what_came_of_a_day_goes_on_where_the_setting_says(setting, monkeypatch):
    assert "then" not in named()["conf"]
    table = {"parity": {"summary": "odd and even", "function": "parity:by_parity"}}
    monkeypatch.setenv("DARKROOM_THEN", json.dumps(table))
    setting(then="parity")
    assert named()["conf"]["then"] == "parity"
    setting(then="nowhere")
    with pytest.raises(BadRequest, match=r"no table \[then.nowhere\]"):
        settings()
