"""What comes out decides what comes next: the example of its page, on the real plant."""

import json
from uuid import uuid4

import pytest

from darkroom.commands.batches import api
from darkroom.errors import BadRequest
from darkroom.results.manifest import current, rows, verify
from darkroom.results.onward import gone_on
from darkroom.settings import settings
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store
from tests.stack.plant import finished, source, started

RED = "a large red circle on a white background"
STEPS = {"generate": {"steps": 1}}


def prompts(name, count):
    lines = [{"custom_id": f"i{seed}", "prompt": RED, "seed": seed} for seed in range(count)]
    return source(name, "\n".join(map(json.dumps, lines)))


def test_odd_goes_one_way_and_even_the_other_each_as_a_batch_of_its_own(stack):
    name = f"numbers-{uuid4().hex[:8]}"
    done = stack.darkroom(
        "submit", str(prompts("numbers.jsonl", 8)), "--flow", "A", "--batch", name, "--then", "parity",
        "--options", json.dumps(STEPS), "--wait", "--json", timeout_s=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ended = {told["batch_id"]: told for told in map(json.loads, done.stdout.splitlines())}
    ways = {"A_C": f"{name}-parity-A_C", "B_C": f"{name}-parity-B_C"}
    assert list(ended) == [name, *ways.values()]
    store = open_store(settings().store_url)
    first = Batch(store, name)
    pictures = {row.custom_id: row for row in rows(first, current(first))}
    for flow, batch_id in ways.items():
        batch = Batch(store, batch_id)
        report = verify(batch)
        assert report.ok, report.problems
        found = {row.custom_id for row in rows(batch, current(batch))}
        odd = flow == "B_C"
        assert found == {name for name, row in pictures.items() if row.bytes % 2 == odd} != set()
        assert first.batch_id in batch.request().source
    even = current(Batch(store, ways["A_C"]))
    assert even.by_stage["generate"].computed == 0, "the picture that was made is the one that is inspected"
    shown = json.loads(stack.darkroom("show", name, "--json").stdout)
    assert {onward["flow"]: onward["batch_id"] for onward in shown["then"]} == ways


def test_a_function_that_fails_fails_its_run_with_the_item_and_keeps_what_was_delivered(stack):
    run = started("A", prompts("broken.jsonl", 2), then="broken", options=STEPS)
    batch, summary = finished(run, state="failed")
    assert summary.completed == 2
    assert batch.store.exists(batch.manifest_path(1, "contact_sheet.html"))
    why = api().failure("image_flow", run.run_id)
    assert why.startswith("then.route: ")
    assert "json:dumps, asked of item 'i0', raised TypeError" in why


def test_the_function_may_be_asked_of_a_batch_that_ended_without(stack):
    batch, summary = finished(started("A", prompts("later.jsonl", 3), options=STEPS))
    assert gone_on(batch) == []
    again = api().trigger("image_flow", f"{batch.batch_id}__then", {**batch.request().conf, "then": "parity"})
    assert api().wait("image_flow", again, 120) == "success"
    assert current(batch) == summary
    assert sum(onward.items for onward in gone_on(batch)) == 3
    for onward in gone_on(batch):
        assert api().wait("image_flow", onward.batch_id, 120) == "success"


def test_a_way_that_does_not_exist_is_refused_at_trigger_time(stack):
    with pytest.raises(BadRequest, match="no-such-way"):
        api().trigger(
            "image_flow", "bad-way", {"flow": "A", "source": "examples/prompts.csv", "then": "no-such-way"}
        )
