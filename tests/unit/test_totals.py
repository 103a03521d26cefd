"""The counters of a plant, in a real Valkey, told by real chunks."""

import json
import logging
from dataclasses import replace

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from tests.servers import valkey_server
from tests.unit.test_chunk import INSPECT, batch_of, generate, in_time, lane, server  # noqa: F401 - fixtures

from darkroom.chunk import run_chunk
from darkroom.manifest import collect
from darkroom.settings import settings
from darkroom.totals import BATCH_ITEMS, BEYOND, KEY, Totals, bucket


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def totals(valkey):
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    return Totals(valkey)


def test_what_chunks_count_is_what_the_summary_of_their_batch_says(tmp_path, lane, totals):  # noqa: F811
    counted = replace(lane, totals=totals)
    batch = batch_of(tmp_path, {"bad": "fail always", "shaky": "fail 2", "good": "fine"})
    generate(batch, counted)
    run_chunk(batch, INSPECT, "00000", counted, in_time)
    summary, told = collect(batch), totals.read()
    assert told["items", "generate", "failed"] == summary.failed == 1
    assert told["errors", "generate", "stage_failed"] == summary.errors["stage_failed"]
    assert told["items", "inspect", "completed"] == summary.completed == 2
    for stage, done in summary.by_stage.items():
        assert told["computed", stage, ""] == done.computed
        assert told.get(("model_s", stage, ""), 0) == pytest.approx(done.busy_s)
    assert (
        sum(told.get(("wasted_tries", stage, ""), 0) for stage in summary.by_stage)
        == summary.wasted.tries
        == 4
    )
    assert told["chunks", "generate", "ended"] == told["chunks", "inspect", "ended"] == 1


def test_a_chunk_that_is_there_already_is_counted_once(tmp_path, lane, totals):  # noqa: F811
    counted = replace(lane, totals=totals)
    batch = batch_of(tmp_path, {"a": "fine", "b": "fine"})
    generate(batch, counted)
    before = totals.read()
    generate(batch, counted)
    assert totals.read() == before
    assert before["items", "generate", "completed"] == 2


def test_pictures_that_exist_are_counted_as_found_and_cost_no_model(tmp_path, lane, totals):  # noqa: F811
    counted = replace(lane, totals=totals)
    generate(batch_of(tmp_path, {"a": "fine", "b": "fine"}), lane)
    part = tmp_path / "batches" / "b1" / "parts" / "generate" / "00000.parquet"
    next(part.parent.glob("*.parquet")).unlink()
    generate(batch_of(tmp_path, {"a": "fine", "b": "fine"}), counted)
    told = totals.read()
    assert told["found", "generate", ""] == told["items", "generate", "completed"] == 2
    assert ("computed", "generate", "") not in told


def test_counters_never_fall_and_add_up_over_many_who_count(valkey, totals):
    others = [Totals(valkey) for _ in range(3)]
    seen = []
    for number in range(9):
        others[number % 3].interrupted("generate", "stopped")
        seen.append(totals.read()["chunks", "generate", "stopped"])
    assert seen == list(range(1, 10))


def test_without_redis_nothing_is_counted_and_nothing_fails(totals):
    for nowhere in (Totals(""), Totals("redis://127.0.0.1:1/0")):
        nowhere.interrupted("generate", "stopped")
        assert nowhere.read() == {}


def test_a_name_of_another_version_does_no_harm(valkey, totals):
    with redis.Redis.from_url(valkey) as client:
        client.hset(KEY, "odd", 1)
    assert totals.read() == {("odd", "", ""): 1.0}


@given(st.floats(min_value=0, max_value=1e9))
def test_a_value_falls_into_the_first_bucket_that_holds_it(value):
    found = bucket(value, BATCH_ITEMS)
    if found == BEYOND:
        assert value > BATCH_ITEMS[-1]
    else:
        assert value <= int(found)
        assert all(value > bound for bound in BATCH_ITEMS if bound < int(found))


@pytest.fixture
def as_json(monkeypatch):
    monkeypatch.setenv("DARKROOM_LOG_FORMAT", "json")
    settings.cache_clear()
    clear_contextvars()
    yield
    clear_contextvars()
    settings.cache_clear()


def test_a_line_about_an_item_that_fails_names_it_and_its_chunk(tmp_path, lane, as_json, caplog):  # noqa: F811
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append((record.getMessage(), get_contextvars()))

    bind_contextvars(batch="b1", chunk="00000", stage="generate", host="here")
    logging.getLogger("darkroom.chunk").addHandler(keep := Keep())
    try:
        generate(batch_of(tmp_path, {"bad": "fail always", "good": "fine"}), lane)
    finally:
        logging.getLogger("darkroom.chunk").removeHandler(keep)
    ((line, fields),) = [found for found in lines if "item" in found[1]]
    assert fields == {
        "batch": "b1", "chunk": "00000", "stage": "generate", "host": "here",
        "item": "bad", "code": "stage_failed", "tries": 3,
    }  # fmt: skip
    assert line.startswith("bad: stage_failed after 3 tries")
    assert json.dumps(fields)
