"""What `housekeeping` is made of, when it runs, and what its tasks make of their limits."""

from types import SimpleNamespace

import pytest
from airflow.sdk import CronTriggerTimetable
from airflow.sdk.exceptions import AirflowSkipException, ParamValidationError, TaskDeferred
from pydantic import ValidationError

from darkroom.orchestration import housekeeping
from darkroom.retention.limits import Housekeeping

TASKS = {"clean_metadata", "clean_progress", "clean_logs", "clean_batches", "clean_images"}


@pytest.fixture
def limits(monkeypatch, tmp_path):
    """Sets the table of the settings."""

    def use(**table):
        secret = SimpleNamespace(get_secret_value=lambda: "")
        here = SimpleNamespace(
            housekeeping=Housekeeping(**table), home=tmp_path, store_url=(tmp_path / "store").as_uri(),
            redis_url=secret, metadata_url=secret,
        )  # fmt: skip
        monkeypatch.setattr(housekeeping, "settings", lambda: here)

    use()
    return use


def context(**params):
    return {"params": dict.fromkeys(housekeeping.housekeeping_params()) | {"dry_run": False} | params}


def test_every_kind_has_a_task_that_depends_on_no_other(dags):
    dag = dags["housekeeping"]
    assert {task.task_id for task in dag.tasks} == TASKS
    assert not any(task.upstream_task_ids for task in dag.tasks)
    assert {(task.queue, task.pool) for task in dag.tasks} == {("default", "light")}


def test_it_runs_every_night_one_run_at_a_time_and_never_late_for_a_night_that_is_over(dags):
    dag = dags["housekeeping"]
    assert isinstance(dag.timetable, CronTriggerTimetable)
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("30 3 * * *", "UTC")
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_without_a_time_it_runs_only_by_hand(limits):
    limits(cron="")
    assert housekeeping.schedule() is None


def test_what_a_user_made_is_kept_by_default(limits):
    for kind in (housekeeping.CleanBatches, housekeeping.CleanImages):
        with pytest.raises(AirflowSkipException, match="all of it is kept"):
            kind(task_id="clean").execute(context())


def test_a_run_by_hand_may_have_other_limits(limits):
    limits(metadata_days=None)
    with pytest.raises(AirflowSkipException):
        housekeeping.CleanMetadata(task_id="clean").execute(context())
    with pytest.raises(TaskDeferred) as found:
        housekeeping.CleanMetadata(task_id="clean").execute(context(metadata_days=7, dry_run=True))
    assert found.value.trigger.arguments == ["clean", "--days", "7", "--dry-run"]


def test_logs_are_cleaned_at_once_and_the_task_says_what_it_did(limits):
    told = housekeeping.CleanLogs(task_id="clean").execute(context())
    assert (told["count"], told["things"], told["dry_run"]) == (0, "log files", False)


def test_what_a_crash_has_left_half_removed_goes_though_there_is_no_limit_any_more(limits):
    from darkroom.retention import old_batches
    from darkroom.store.batches import Batch
    from darkroom.store.storage import open_store

    store = open_store(housekeeping.settings().store_url)
    batch = Batch(store, "b1")
    store.create_json(batch.request_path, {})
    old_batches.mark(batch)
    task = housekeeping.CleanBatches(task_id="clean")
    with pytest.raises(TaskDeferred) as found:
        task.execute(context())
    assert found.value.trigger.arguments == ["live"]
    told = task.asked(context(), {"answer": []}, **found.value.kwargs)
    assert told["count"] == 1
    assert not list(store.list("batches"))


@pytest.mark.parametrize("value", [0, -1, 1.5, "thirty"])
def test_a_limit_that_makes_no_sense_is_refused(dags, value):
    param = dags["housekeeping"].params.get_param("logs_days")
    with pytest.raises(ParamValidationError):
        param.resolve(value)


def test_pictures_are_kept_for_two_weeks_at_least(dags):
    with pytest.raises(ParamValidationError):
        dags["housekeeping"].params.get_param("images_days").resolve(13)
    with pytest.raises(ValidationError):
        Housekeeping(images_days=13)


@pytest.mark.parametrize("cron", ["daily", "30 3 * *", "61"])
def test_a_time_that_is_none_is_refused(cron):
    with pytest.raises(ValidationError, match="five fields"):
        Housekeeping(cron=cron)
