"""Not before, by when, and told when done, on the real plant."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from darkroom.commands.batches import api
from darkroom.commands.connection import DAG_ID, redis_url
from darkroom.live.control import Control
from darkroom.orchestration.telling import CALLBACK_FLOW, CONNECTION
from tests.receiver import receiving
from tests.stack.plant import finished, source, started, until

SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture(scope="module")
def receiver(stack):
    connection = {"connection_id": CONNECTION, "conn_type": "generic", "password": SECRET}
    api().call("POST", "/api/v2/connections", json=connection)
    with receiving() as server:
        yield server


def one_item():
    return source("told.jsonl", json.dumps({"custom_id": "a", "prompt": "a large red circle"}))


def verified(receiver, count):
    """What has come, when it is that much; each held against its signature."""
    got = until(lambda: len(receiver.got) >= count and list(receiver.got), f"{count} callbacks")
    return [(headers["webhook-id"], Webhook(SECRET).verify(body, headers)) for headers, body in got]


def test_who_asked_for_it_is_told_of_the_end_once_though_not_at_the_first_try(receiver):
    receiver.got.clear()
    receiver.answers[:] = [503]
    run = started("A", one_item(), callback_url=receiver.url)
    _, summary = finished(run)
    (first, _), (second, event) = verified(receiver, 2)
    assert first == second
    assert (event["type"], event["data"]["state"]) == ("batch.completed", "succeeded")
    assert event["data"]["batch_id"] == run.batch_id
    assert event["data"]["counts"]["completed"] == summary.completed == 1
    told = f"{run.run_id}__batch.completed"
    assert api().wait(CALLBACK_FLOW, told, 60) == "success"
    assert len(receiver.got) == 2


def test_a_run_that_fails_in_its_plan_is_told_of_too(receiver):
    receiver.got.clear()
    run = started("A", "examples/nothing.csv", callback_url=receiver.url)
    ((_, event),) = verified(receiver, 1)
    assert (event["type"], event["data"]["counts"]) == ("batch.failed", None)
    assert event["data"]["links"]["run"].endswith(f"/dags/image_flow/runs/{run.run_id}")


@pytest.fixture
def late_and_cancelled(receiver):
    """Starts a batch of which two events are told; its name, when it has ended."""

    def start():
        receiver.got.clear()
        batch = f"test-{uuid4().hex[:12]}"
        Control(redis_url()).pause(batch)  # so it can't end in time
        deadline = datetime.now(UTC) + timedelta(seconds=5)
        conf = {
            "flow": "A", "source": str(one_item()), "batch_id": batch, "callback_url": receiver.url,
            "deadline": deadline.isoformat(), "cancel_at_deadline": True,
        }  # fmt: skip
        api().trigger(DAG_ID, batch, conf)
        assert api().wait(DAG_ID, batch, 120) == "failed"
        return batch

    return start


def test_a_receiver_that_is_gone_is_told_of_no_later_event_of_the_batch(receiver, late_and_cancelled):
    receiver.answers[:] = [410]
    batch = late_and_cancelled()
    for kind in ("batch.late", "batch.cancelled"):
        told = f"{batch}__{kind}"
        until(
            lambda told=told: told in {run.run_id for run in api().runs_of_batch(CALLBACK_FLOW, batch)}, told
        )
        assert api().wait(CALLBACK_FLOW, told, 60) == "failed"
    assert len(receiver.got) == 1


def test_a_batch_that_misses_its_deadline_is_late_and_cancelled_and_both_is_told(
    receiver, late_and_cancelled
):
    batch = late_and_cancelled()
    events = [event for _, event in verified(receiver, 2)]
    assert {event["type"] for event in events} == {"batch.late", "batch.cancelled"}
    assert Control(redis_url()).state(batch) == "cancelled"
    note = api().call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{batch}")["note"]
    assert "late: the deadline" in note
    (missed,) = api().call("GET", f"/ui/dags/{DAG_ID}/dagRuns/{batch}/deadlines")["deadlines"]
    assert missed["missed"] is True


def plan_of(run):
    return next(ti for ti in api().task_instances(DAG_ID, run.run_id) if ti["task_id"] == "plan")


def test_a_batch_begins_not_before_its_time_and_waits_without_a_slot_or_a_try(stack):
    not_before = datetime.now(UTC) + timedelta(seconds=15)
    run = started("A", one_item(), not_before=not_before.isoformat())
    until(lambda: plan_of(run)["state"] == "up_for_reschedule", "the plan has been put off")
    light = "/api/v2/pools/light"
    until(lambda: api().call("GET", light)["occupied_slots"] == 0, "no slot is held", timeout_s=8)
    assert plan_of(run)["state"] == "up_for_reschedule", "and it still waits"
    finished(run)
    assert datetime.fromisoformat(plan_of(run)["end_date"]) >= not_before
    assert plan_of(run)["try_number"] == 1


def test_what_begins_later_is_refused_now(stack):
    later = (datetime.now(UTC) + timedelta(hours=6)).isoformat()
    run = started("A", one_item(), not_before=later, options={"inspect": {}})
    assert api().wait(DAG_ID, run.run_id, 60) == "failed"
    assert "flow A has no stage 'inspect'" in api().failure(DAG_ID, run.run_id)


def test_a_callback_to_a_host_that_is_not_allowed_is_refused_in_one_line(stack):
    done = stack.darkroom(
        "submit", "examples/prompts.csv", "--flow", "A", "--callback-url", "https://a.example/"
    )
    assert done.returncode == 2
    assert "callback_url: host 'a.example' is not among those allowed (127.0.0.1)" in done.stderr
    run = started("A", "examples/prompts.csv", callback_url="https://a.example/")
    assert api().wait(DAG_ID, run.run_id, 120) == "failed"
    assert api().failure(DAG_ID, run.run_id).startswith("plan: callback_url: host 'a.example'")
