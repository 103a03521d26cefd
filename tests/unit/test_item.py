"""One item in one stage: its tries, its time, its picture."""

import json
import logging
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from tests.unit.chunks import GENERATE, INSPECT, batch_of, generate, in_time, outcomes
from tests.unit.plant import leftovers, save_plan_chunk

from darkroom.chunks.chunk import run_chunk
from darkroom.records import BatchRequest, PlannedItem, Status
from darkroom.results.manifest import collect
from darkroom.settings import settings
from darkroom.store.batches import Batch, Index
from darkroom.store.storage import open_store


def test_an_item_is_tried_three_times_then_set_aside_and_its_neighbours_pass(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"bad": "fail always", "shaky": "fail 2", "good": "fine"})
    report = generate(batch, lane)
    rows = outcomes(batch)
    assert (rows["bad"].status, rows["bad"].error.code, rows["bad"].attempts) == ("failed", "stage_failed", 3)
    assert (rows["shaky"].status, rows["shaky"].attempts) == ("completed", 3)
    assert rows["good"].status is Status.COMPLETED
    assert server.asked == {"bad": 3, "shaky": 3, "good": 1}
    assert (report.completed, report.failed) == (2, 1)


def test_an_answer_without_a_picture_is_an_error_of_its_item(tmp_path, lane):
    batch = batch_of(tmp_path, {"empty": "nothing", "good": "fine"})
    generate(batch, lane)
    assert outcomes(batch)["empty"].error.code == "stage_failed"
    assert outcomes(batch)["good"].status is Status.COMPLETED


def test_a_full_queue_costs_no_try(tmp_path, lane):
    batch = batch_of(tmp_path, {"queued": "busy 2"})
    generate(batch, lane)
    assert (outcomes(batch)["queued"].status, outcomes(batch)["queued"].attempts) == ("completed", 1)


def test_a_server_that_drains_is_waited_for_and_costs_no_try_nor_a_suspicion(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"first": "drains 2", "second": "fine"})
    generate(batch, lane)
    assert {name: row.attempts for name, row in outcomes(batch).items()} == {"first": 1, "second": 1}
    assert server.asked["first"] == 3


def test_an_image_that_exists_is_not_computed_again_by_another_batch(tmp_path, lane, server):
    generate(batch_of(tmp_path, {"a": "fine"}), lane)
    other = Batch(open_store(tmp_path.as_uri()), "b2")
    other.save_request(BatchRequest(flow="A", source="x", batch_id="b2"))
    save_plan_chunk(other, "00000", [PlannedItem(custom_id="other", prompt="fine", seed=0)])
    generate(other, lane)
    row = outcomes(other)["other"]
    assert (row.status, row.attempts, row.details["said"]) == ("completed", 0, "a")
    assert server.asked == {"a": 1}


def test_an_expired_item_is_timed_out_without_being_computed(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"late": "fine"}, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    generate(batch, lane)
    late = outcomes(batch)["late"]
    assert (late.status, late.error.code, late.attempts) == (Status.TIMED_OUT, "expired", 0)
    assert not server.asked


@pytest.mark.parametrize("answer", ["busy 1000000", "drains 1000000"])
def test_an_item_that_expires_while_it_waits_for_its_server_is_not_sent_again(tmp_path, lane, server, answer):
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    batch = batch_of(tmp_path, {"late": answer}, expires_at=soon)
    generate(batch, replace(lane, grace_s=60))  # by its grace it would go on for a minute
    assert outcomes(batch)["late"].error.code == "expired"
    assert outcomes(batch)["late"].status is Status.TIMED_OUT
    assert server.asked["late"] > 0


def test_an_item_that_expires_between_two_stages_keeps_its_picture_and_is_timed_out(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"late": "fine"}, expires_at=datetime.now(UTC) + timedelta(seconds=5))
    generate(batch, lane)
    made = outcomes(batch)["late"]
    assert made.status is Status.COMPLETED
    while datetime.now(UTC) <= batch.plan_chunk("00000")[0].expires_at:
        time.sleep(0.05)
    run_chunk(batch, INSPECT, "00000", lane, in_time)
    late = outcomes(batch, INSPECT)["late"]
    assert (late.status, late.image_uri) == (Status.TIMED_OUT, made.image_uri)
    assert server.asked == {"late": 1}


PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)


@given(times=st.lists(st.sampled_from([PAST, FUTURE, None]), min_size=1, max_size=12))
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_expires_no_item_is_computed_after_its_time_and_none_is_lost(tmp_path, lane, server, times):
    server.asked.clear()
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    batch = batch_of(folder, {f"i{n}": "fine" for n in range(len(times))}, at=times)
    for stage in (GENERATE, INSPECT):
        run_chunk(batch, stage, "00000", lane, in_time)
    rows = outcomes(batch, INSPECT)
    in_time_ids = {f"i{n}" for n, time in enumerate(times) if time != PAST}
    assert list(rows) == [f"i{n}" for n in range(len(times))]
    assert {name for name, row in rows.items() if row.status is Status.COMPLETED} == in_time_ids
    assert {row.status for name, row in rows.items() if name not in in_time_ids} <= {Status.TIMED_OUT}
    assert set(server.asked) == in_time_ids
    assert leftovers(batch, failed=True) == []
    summary = collect(batch)
    assert (summary.items, summary.timed_out) == (len(times), len(times) - len(in_time_ids))


def test_a_picture_that_has_vanished_costs_its_item_a_round_and_the_others_nothing(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"a": "fine", "gone": "fine", "c": "fine"})
    generate(batch, lane)
    uri = outcomes(batch)["gone"].image_uri
    (tmp_path / batch.store.path(uri)).unlink()
    report = run_chunk(batch, INSPECT, "00000", lane, in_time)
    assert (report.completed, report.failed, report.undone) == (2, 0, 1)
    (left,) = leftovers(batch)
    assert (left.custom_id, left.respin) == ("gone", 0)

    save_plan_chunk(batch, "r1-3fa94be1-00000", [left])
    index = Index(round=1, flow="A_C", chunk_ids=["r1-3fa94be1-00000"], sizes=[1], items=1)
    batch.save_index(index)
    for stage in (GENERATE, INSPECT):
        assert run_chunk(batch, stage, index.chunk_ids[0], lane, in_time).completed == 1
    assert server.asked["gone"] == 2  # `inspect` has seen the same picture already
    assert collect(batch).completed == 3
    assert leftovers(batch) == []


@pytest.fixture
def as_json(monkeypatch):
    monkeypatch.setenv("DARKROOM_LOG_FORMAT", "json")
    settings.cache_clear()
    clear_contextvars()
    yield
    clear_contextvars()
    settings.cache_clear()


def test_a_line_about_an_item_that_fails_names_it_and_its_chunk(tmp_path, lane, as_json, caplog):
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append((record.getMessage(), get_contextvars()))

    bind_contextvars(batch="b1", chunk="00000", stage="generate", host="here")
    logging.getLogger("darkroom.chunks.item").addHandler(keep := Keep())
    try:
        generate(batch_of(tmp_path, {"bad": "fail always", "good": "fine"}), lane)
    finally:
        logging.getLogger("darkroom.chunks.item").removeHandler(keep)
    ((line, fields),) = [found for found in lines if "item" in found[1]]
    assert fields == {
        "batch": "b1", "chunk": "00000", "stage": "generate", "host": "here",
        "item": "bad", "code": "stage_failed", "tries": 3,
    }  # fmt: skip
    assert line.startswith("bad: stage_failed after 3 tries")
    assert json.dumps(fields)
