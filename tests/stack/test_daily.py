"""Days on the real stack: by schedule and by backfill, each a batch, with a DAG that runs after each."""

import json
from datetime import UTC, date, datetime, timedelta

from darkroom.commands.connection import api, batch_named
from darkroom.results.manifest import current, verify
from darkroom.settings import settings
from tests.stack.plant import source, until

RED = "a large red circle on a white background"


def partition(day: date) -> None:
    """Put a day's partition of two items where the setting looks for it."""
    lines = [{"custom_id": f"{day}-{n}", "prompt": RED, "seed": n} for n in range(2)]
    source(f"daily/{day}.jsonl", "\n".join(json.dumps(line) for line in lines))


def runs(dag_id, **query):
    """Runs of a DAG as the API tells them, the newest first."""
    query = {"order_by": "-run_after", "limit": 100, **query}
    return api().call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"]


def states(dag_id, run_id):
    return {ti["task_id"]: ti["state"] for ti in api().task_instances(dag_id, run_id)}


def done(day):
    """The manifest of a day, verified."""
    batch = batch_named(f"daily-{day}")
    report = verify(batch)
    assert report.ok, report.problems
    return current(batch)


def work(day):
    """The runs of image_flow for a day, the newest first."""
    return api().runs_of_batch("image_flow", f"daily-{day}")


def test_the_schedule_waits_for_yesterdays_partition_and_the_next_dag_gets_its_manifest(stack):
    run = until(lambda: runs("daily_flow", run_type="scheduled"), "the schedule has started a day")[0]
    day = settings().daily.day_of(datetime.fromisoformat(run["logical_date"]))
    assert day == settings().daily.last_due(datetime.now(UTC))
    run_id = run["dag_run_id"]
    until(lambda: states("daily_flow", run_id)["wait_for_partition"] == "deferred", "it waits without a slot")
    assert work(day) == []
    partition(day)
    assert api().wait("daily_flow", run_id, 400) == "success", states("daily_flow", run_id)
    summary = done(day)
    assert (summary.generation, summary.items, summary.completed) == (1, 2, 2)

    after = until(lambda: runs("after_day"), "the DAG whose schedule is the asset runs")[0]["dag_run_id"]
    assert api().wait("after_day", after, 120) == "success"
    counted = f"/api/v2/dags/after_day/dagRuns/{after}/taskInstances/count_pictures/xcomEntries/return_value"
    assert api().call("GET", counted)["value"] == {f"{day}": 2}


def test_a_backfill_runs_each_day_that_has_a_partition_below_all_other_work(stack):
    last = settings().daily.last_due(datetime.now(UTC)) - timedelta(days=7)
    days = [last - timedelta(days=2), last - timedelta(days=1), last]
    missing = days[1]
    for day in (days[0], days[2]):
        partition(day)
    told = backfill(stack, days[0], days[2])
    assert told["days"] == {f"{day}": "success" for day in days}
    for day in (days[0], days[2]):
        assert done(day).completed == 2
        (run,) = work(day)
        weights = {ti["priority_weight"] for ti in api().task_instances("image_flow", run.run_id)}
        assert max(weights) < 100  # of bulk
    assert work(missing) == []

    again = backfill(stack, last, last, "--reprocess", "completed")
    assert again["days"] == {f"{last}": "success"}
    second, first = work(last)
    assert (first.conf["retry"], second.conf["retry"]) == (False, True)
    assert done(last).generation == 1  # there was nothing to compute


def backfill(stack, first, last, *more):
    ended = stack.darkroom("backfill", f"{first}", f"{last}", *more, "--wait", "--json", timeout_s=600)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
