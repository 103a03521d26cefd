"""Housekeeping on the real plant: what is old goes, what lives stays however old."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import create_engine, text

from darkroom.commands.batches import api
from darkroom.retention.tally import DAY_S
from tests.stack.plant import batch_of, finished, source, started


def age(stack, run, days):
    """Make a run that old, with its tasks and the files of its batch."""
    engine = create_engine(stack.addresses.postgres_url)
    then = datetime.now(UTC) - timedelta(days=days)
    with engine.begin() as connection:
        values = {"then": then, "run": run.run_id}
        connection.execute(
            text("UPDATE dag_run SET created_at = :then, start_date = :then WHERE run_id = :run"), values
        )
        connection.execute(text("UPDATE task_instance SET start_date = :then WHERE run_id = :run"), values)
    engine.dispose()
    batch = batch_of(run)
    for path in batch.store.list(batch.root):
        os.utime(Path(batch.store.uri(path).removeprefix("file://")), (time.time() - days * DAY_S,) * 2)


def cleaned(stack, *options):
    done = stack.darkroom("clean", "--batches-days", "30", "--json", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["states"].values()) == {"success", "skipped"}, told
    return told["found"]


def test_an_old_batch_and_its_records_go_and_one_that_waits_stays_however_old(stack):
    one = json.dumps({"custom_id": "a", "prompt": "a small green square"})
    old = started("A", source("old.jsonl", one))
    batch, _ = finished(old)
    waits = started("A", source("old.jsonl", one), not_before="2100-01-01T00:00:00Z")
    waiting = batch_of(waits)
    waiting.store.create_json(f"{waiting.root}/plan/params.json", {})
    try:
        age(stack, old, 60)
        age(stack, waits, 50)
        seen = cleaned(stack)
        assert seen["clean_metadata"]["dry_run"] is True
        assert seen["clean_batches"]["count"] == 1
        assert batch.planned() and api().run_state("image_flow", old.run_id) == "success"

        found = cleaned(stack, "--yes")
        assert found["clean_metadata"]["count"] == seen["clean_metadata"]["count"] >= 1
        assert any(f"run {waits.run_id}" in note for note in found["clean_metadata"]["notes"])
        assert found["clean_batches"]["count"] == 1 and found["clean_images"] is None
        assert not batch.exists() and waiting.store.exists(f"{waiting.root}/plan/params.json")
        assert old.run_id not in {run.run_id for run in api().newest_runs("image_flow")}
        assert api().run_state("image_flow", waits.run_id) in ("queued", "running")
    finally:
        api().end_runs(waits.batch_id)
