"""Two schedulers and two triggerers side by side: that one of each dies is missed by nobody."""

import json
from datetime import UTC, datetime

from darkroom.commands.connection import api, batch_named
from darkroom.results.manifest import current, verify
from darkroom.settings import settings
from tests.faults.conftest import SCHEDULERS, TRIGGERERS, done
from tests.stack.plant import back, kill_tree, pid_of, source, until, whole

ITEMS = 240


def scheduled():
    """The runs of `daily_flow` that its schedule has started."""
    of = {"run_type": "scheduled"}
    return api().call("GET", "/api/v2/dags/daily_flow/dagRuns", params=of)["dag_runs"]


def task(run_id, task_id):
    """A task of a run of `daily_flow`."""
    return next(ti for ti in api().task_instances("daily_flow", run_id) if ti["task_id"] == task_id)


def test_one_scheduler_and_one_triggerer_die_in_a_scheduled_batch_and_nothing_is_missed_or_doubled(stack):
    whole()
    (run,) = until(scheduled, "the schedule has started a day")
    run_id, day = run["dag_run_id"], settings().daily.last_due(datetime.now(UTC))
    batch_id = f"daily-{day}"
    waits = "wait_for_partition"
    until(lambda: task(run_id, waits)["state"] == "deferred", "it waits for its partition without a slot")
    old = {part: pid_of(part) for part in (SCHEDULERS[0], TRIGGERERS[0])}
    kill_tree(TRIGGERERS[0])
    items = ({"custom_id": f"i{n}", "prompt": "a picture"} for n in range(ITEMS))
    source(f"daily/{day}.jsonl", "\n".join(map(json.dumps, items)))
    until(lambda: done(batch_id) >= 8, "8 pictures are made")
    kill_tree(SCHEDULERS[0])
    assert api().wait("daily_flow", run_id, 300) == "success"

    batch = batch_named(batch_id)
    report, summary = verify(batch), current(batch)
    assert report.ok, report.problems
    assert (summary.items, summary.completed) == (ITEMS, ITEMS)
    assert len(scheduled()) == 1, "the day was started twice"
    assert len(api().runs_of_batch("image_flow", batch_id)) == 1, "its batch was started twice"
    of = {"source_dag_id": "daily_flow", "source_run_id": run_id}
    told = api().call("GET", "/api/v2/assets/events", params=of)
    assert [event["extra"]["batch_id"] for event in told["asset_events"]] == [batch_id]
    for part, pid in old.items():
        back(part, pid)
