"""A person pauses, resumes, cancels and retries: chunks stop at an item boundary, and nothing is lost."""

import json
from datetime import UTC, datetime, timedelta

from darkroom.commands.batches import api
from darkroom.commands.connection import batch_named
from darkroom.rest.api import DAG_ID, FINAL_STATES
from darkroom.results.manifest import current, verify
from darkroom.settings import settings
from tests.faults.conftest import done
from tests.faults.outcome import children, chunks, complete
from tests.stack.plant import batch_of, finished, source, until, whole

ITEMS = 240


def test_a_paused_batch_holds_no_slot_and_goes_on_where_it_was(submit, stack):
    run = submit(ITEMS)
    assert stack.darkroom("pause", run.batch_id).returncode == 0
    until(
        lambda: not any(ti["state"] in ("running", "queued") for ti in chunks(run)), "no chunk holds a slot"
    )
    assert any(ti["state"] == "deferred" for ti in chunks(run))
    before = done(run.batch_id)
    assert 0 < before < ITEMS
    assert stack.darkroom("resume", run.batch_id).returncode == 0
    _, summary = complete(run, ITEMS)
    assert summary.wasted.tries == 0


def test_a_cancelled_batch_ends_with_its_children_and_retry_does_the_rest(submit, stack):
    run = submit(480)
    until(lambda: children(run.batch_id), "it has children")
    cancelled = stack.darkroom("cancel", run.batch_id)
    assert cancelled.returncode == 0, cancelled.stderr

    def ended():
        states = {api().run_state("shard_flow", child) for child in children(run.batch_id)}
        return states if states <= set(FINAL_STATES) else None

    # A small first shard may have been done when the command came.
    assert "failed" in until(ended, "its children have ended")
    until(lambda: not any(ti["state"] in ("running", "queued") for ti in chunks(run)), "no chunk runs")
    made = len(list(batch_of(run).store.list("images/generate")))
    again = stack.darkroom("retry", run.batch_id, "--wait", "--json")
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)["summary"]
    assert (summary["items"], summary["completed"]) == (480, 480)
    assert made > 0


def test_retry_runs_what_failed_and_adds_a_generation(submit, stack, fleet):
    run = submit(40, made=1, prompts={3: "fails for now"}, max_failed_ratio=0)
    _, summary = finished(run, state="failed")
    assert (summary.generation, summary.failed) == (1, 1)
    again = stack.darkroom("retry", run.batch_id, "--wait", "--json")
    told = json.loads(again.stdout)["summary"]
    assert (again.returncode, told["failed"]) == (1, 1)  # it fails for ever, but it was tried
    assert told["generation"] == 2
    assert len(children(run.batch_id)) == 1
    assert api().run_state(DAG_ID, f"{run.batch_id}__retry1") == "failed"


def test_a_second_run_of_a_day_computes_what_failed_and_adds_a_generation(stack, fleet):
    day = settings().daily.last_due(datetime.now(UTC)) - timedelta(days=3)
    prompts = {f"i{n}": "fails until it is mended" if n == 3 else "a picture" for n in range(40)}
    lines = ({"custom_id": name, "prompt": prompt} for name, prompt in prompts.items())
    source(f"daily/{day}.jsonl", "\n".join(map(json.dumps, lines)))

    def run(*more):
        whole()
        ended = stack.darkroom("backfill", f"{day}", f"{day}", *more, "--wait", "--json")
        assert ended.returncode == 0, ended.stderr
        batch = batch_named(f"daily-{day}")
        report = verify(batch)
        assert report.ok, report.problems
        summary = current(batch)
        return summary.generation, summary.completed, summary.failed

    assert run() == (1, 39, 1)
    fleet.mend()
    ledgers = [fleet.put("count", server) for server in ("generate-1", "generate-2")]
    assert run("--reprocess", "completed") == (2, 40, 0)
    assert [name for ledger in ledgers for name in ledger.read_text().split()] == ["i3"]
    told = api().call("GET", "/api/v2/assets/events", params={"source_dag_id": "daily_flow"})
    events = [event["extra"] for event in told["asset_events"] if event["extra"]["day"] == f"{day}"]
    assert sorted(event["generation"] for event in events) == [1, 2]
