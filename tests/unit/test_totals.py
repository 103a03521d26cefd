"""The counters of a plant, in a real Valkey, told by real chunks."""

from dataclasses import replace

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chunks import INSPECT, batch_of, generate, in_time

from darkroom.chunks.chunk import run_chunk
from darkroom.live.measures import Measures
from darkroom.live.totals import BATCH_ITEMS, BEYOND, KEY, Totals, bucket
from darkroom.results.manifest import collect


@pytest.fixture
def totals(url):
    return Totals(url)


def test_what_chunks_count_is_what_the_summary_of_their_batch_says(tmp_path, lane, totals, url):
    counted = replace(lane, measures=Measures(url))
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


def test_a_chunk_that_is_there_already_is_counted_once(tmp_path, lane, totals, url):
    counted = replace(lane, measures=Measures(url))
    batch = batch_of(tmp_path, {"a": "fine", "b": "fine"})
    generate(batch, counted)
    before = totals.read()
    generate(batch, counted)
    assert totals.read() == before
    assert before["items", "generate", "completed"] == 2


def test_pictures_that_exist_are_counted_as_found_and_cost_no_model(tmp_path, lane, totals, url):
    counted = replace(lane, measures=Measures(url))
    generate(batch_of(tmp_path, {"a": "fine", "b": "fine"}), lane)
    part = tmp_path / "batches" / "b1" / "parts" / "generate" / "00000.parquet"
    next(part.parent.glob("*.parquet")).unlink()
    generate(batch_of(tmp_path, {"a": "fine", "b": "fine"}), counted)
    told = totals.read()
    assert told["found", "generate", ""] == told["items", "generate", "completed"] == 2
    assert ("computed", "generate", "") not in told


def test_counters_never_fall_and_add_up_over_many_who_count(url, totals):
    others = [Totals(url) for _ in range(3)]
    seen = []
    for number in range(9):
        others[number % 3].interrupted("generate", "stopped")
        seen.append(totals.read()["chunks", "generate", "stopped"])
    assert seen == list(range(1, 10))


def test_without_redis_nothing_is_counted_and_nothing_fails(totals):
    for nowhere in (Totals(""), Totals("redis://127.0.0.1:1/0")):
        nowhere.interrupted("generate", "stopped")
        assert nowhere.read() == {}


def test_a_name_of_another_version_does_no_harm(url, totals):
    with redis.Redis.from_url(url) as client:
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
