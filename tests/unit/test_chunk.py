"""Chunks against a real HTTP server that misbehaves as it is told, item by item."""

import threading
from dataclasses import replace

import pytest
from tests.unit.chunks import GENERATE, INSPECT, batch_of, generate, in_time, outcomes
from tests.unit.plant import save_plan_chunk

from darkroom.chunks.chunk import Lane, run_chunk
from darkroom.chunks.turns import Turn
from darkroom.errors import (
    BatchSuspect,
    ChunkStopped,
    HostSuspect,
    NotPlanned,
    ServerGone,
    StoreUnavailable,
)
from darkroom.live.progress import Progress
from darkroom.records import PlannedItem, Status
from darkroom.serving.client import StageClient
from darkroom.stages.noop import PNG
from darkroom.store.storage import Store


def test_every_item_gets_a_row_in_plan_order_with_its_picture(tmp_path, lane):
    names = [f"i{n}" for n in range(20)]
    batch = batch_of(tmp_path, dict.fromkeys(names, "fine"))
    report = generate(batch, lane)
    part = batch.part("generate", "00000")
    assert [row.custom_id for row in part] == names
    assert (report.completed, report.failed, report.undone) == (20, 0, 0)
    for row in part:
        assert batch.store.read(batch.store.path(row.image_uri)) == PNG
        assert (row.width, row.height, row.bytes) == (8, 8, len(PNG))
        assert (row.attempts, row.host, row.model) == (1, "here", GENERATE.model)
        assert row.details["said"] == row.custom_id


def test_a_host_on_which_every_item_fails_is_doubted_before_its_items_are(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"a": "fail 3", "b": "fail 3"})
    with pytest.raises(HostSuspect, match="2 of the latest 2 items failed on here"):
        generate(batch, replace(lane, doubts=True))
    assert batch.part("generate", "00000") is None
    assert generate(batch, replace(lane, doubts=True)).completed == 2  # elsewhere, say


def test_a_host_that_breaks_in_the_middle_of_a_chunk_is_doubted_too(tmp_path, lane):
    good = {f"good{n}": "fine" for n in range(GENERATE.batch_size)}
    batch = batch_of(tmp_path, good | {f"bad{n}": "fail always" for n in range(GENERATE.batch_size)})
    with pytest.raises(HostSuspect, match=f"{GENERATE.batch_size} of the latest"):
        generate(batch, replace(lane, doubts=True))


def test_an_item_that_fails_beside_good_ones_is_tried_elsewhere_once_more_and_then_set_aside(tmp_path, lane):
    batch = batch_of(tmp_path, {"bad": "fail always", "good": "fine"})
    with pytest.raises(BatchSuspect, match="1 of the latest 2"):
        generate(batch, replace(lane, doubts=True))
    report = generate(batch, lane)  # the last try
    assert (report.completed, report.failed) == (1, 1)


def test_an_item_that_kills_its_server_is_found_and_its_neighbours_pass(tmp_path, lane):
    batch = batch_of(tmp_path, {"poison": "kill always", "good": "fine", "better": "fine"})
    generate(batch, lane)
    rows = outcomes(batch)
    assert (rows["poison"].status, rows["poison"].error.code) == ("failed", "killed_its_server")
    assert rows["poison"].attempts == 3
    assert rows["good"].status is rows["better"].status is Status.COMPLETED


def test_an_item_that_hangs_its_server_is_found_and_its_neighbours_pass(tmp_path, server):
    batch = batch_of(tmp_path, {"poison": "hang", "good": "fine"})
    with StageClient(server.address, deadline_s=1) as client:
        generate(batch, Lane(client, "here", Progress(""), (), grace_s=10))
    rows = outcomes(batch)
    assert (rows["poison"].status, rows["poison"].error.code) == ("failed", "hung_its_server")
    assert rows["good"].status is Status.COMPLETED


def test_a_host_that_crawls_blames_no_item_for_not_answering_in_time(tmp_path, server):
    batch = batch_of(tmp_path, {f"i{n}": "hang" for n in range(GENERATE.batch_size)} | {"good": "fine"})
    with StageClient(server.address, deadline_s=1) as client:
        lane = Lane(client, "here", Progress(""), (), grace_s=10)
        looks = iter([False, False])
        report = run_chunk(batch, GENERATE, "00000", lane, lambda _: next(looks, True))
    assert report.out_of_time
    assert batch.part("generate", "00000") == [], "the item that hung, and those not tried, are left over"


def test_a_server_that_died_once_costs_no_item(tmp_path, lane):
    batch = batch_of(tmp_path, {"unlucky": "kill 1", "good": "fine"})
    generate(batch, lane)
    assert {row.status for row in outcomes(batch).values()} == {Status.COMPLETED}


def test_a_server_that_stays_down_is_the_hosts_fault_and_what_was_computed_is_kept(tmp_path, lane, server):
    prompts = {f"i{n}": "fine" for n in range(GENERATE.batch_size)} | {"last": "down"}
    batch = batch_of(tmp_path, prompts)
    with pytest.raises(ServerGone):
        generate(batch, lane)
    assert batch.part("generate", "00000") is None
    server.down = False
    assert generate(batch, lane).completed == len(prompts)
    assert server.asked == dict.fromkeys(prompts, 1) | {"last": 2}


def test_a_finished_chunk_is_not_run_again(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"a": "fine"})
    generate(batch, lane)
    generate(batch, lane)
    assert server.asked == {"a": 1}


def test_asked_to_stop_it_stops_between_two_batches_and_writes_no_part(tmp_path, lane, server):
    batch = batch_of(tmp_path, {f"i{n}": "fine" for n in range(3 * GENERATE.batch_size)})
    draining = ChunkStopped("draining")
    asked = iter([None, draining])
    stopping = replace(lane, should_stop=lambda: next(asked, draining))
    with pytest.raises(ChunkStopped, match="draining"):
        generate(batch, stopping)
    assert batch.part("generate", "00000") is None
    assert len(server.asked) == GENERATE.batch_size
    generate(batch, lane)
    assert set(server.asked.values()) == {1}


def test_a_chunk_whose_store_refuses_says_so_instead_of_running(tmp_path, lane, monkeypatch):
    told = []

    class Told(Progress):
        def report(self, batch_id, stage, chunk_id, chunk):
            told.append((chunk.state, chunk.reason))

    def full(self, path, data):
        raise StoreUnavailable("no space left on device")

    batch = batch_of(tmp_path, {"a": "fine"})
    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
        patch.setattr(Store, "create", full)
        generate(batch, replace(lane, progress=Told("")))
    assert told == [("running", ""), ("stopped", "no space left on device")]
    assert generate(batch, lane).completed == 1


def test_past_its_budget_it_lists_what_is_done_and_leaves_the_rest_over(tmp_path, lane):
    batch = batch_of(tmp_path, {f"i{n}": "fine" for n in range(5)})
    report = generate(batch, lane, budget_s=-1)
    assert (report.items, report.undone) == (5, 5)
    assert batch.part("generate", "00000") == []


def test_inspect_takes_what_generate_made_and_carries_its_failures_through(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"bad": "fail always", "ugly": "ugly", "good": "fine"})
    generate(batch, lane)
    server.asked.clear()
    report = run_chunk(batch, INSPECT, "00000", lane, in_time)
    rows = outcomes(batch, INSPECT)
    assert {name: row.status for name, row in rows.items()} == {
        "bad": Status.FAILED,
        "ugly": Status.REJECTED,
        "good": Status.COMPLETED,
    }
    assert (report.completed, report.rejected, report.failed) == (1, 1, 1)
    assert set(server.asked) == {"ugly", "good"}
    assert rows["good"].verdict.accepted
    assert rows["good"].image_uri == outcomes(batch)["good"].image_uri
    assert set(rows["good"].details["stages"]) == {"generate", "inspect"}
    assert rows["good"].attempts == 2


def test_inspect_leaves_out_what_generate_left_over(tmp_path, lane):
    batch = batch_of(tmp_path, {"a": "fine"})
    generate(batch, lane, budget_s=-1)
    assert run_chunk(batch, INSPECT, "00000", lane, in_time).undone == 1


def test_a_stage_whose_predecessor_has_no_part_says_so(tmp_path, lane):
    batch = batch_of(tmp_path, {"a": "fine"})
    with pytest.raises(NotPlanned, match="no part of stage generate"):
        run_chunk(batch, INSPECT, "00000", lane, in_time)


def test_while_an_item_is_tried_alone_the_other_lane_of_the_server_waits(tmp_path, server):
    """Else each would see its server die under the other's poison, three times, and be set aside."""
    batch = batch_of(tmp_path, {"poison": "kill always", "good": "fine"})
    save_plan_chunk(batch, "00001", [PlannedItem(custom_id="slow", prompt="slow", seed=9)])
    lock = tmp_path / "alone.lock"

    def run(chunk_id):
        with StageClient(server.address, deadline_s=5) as client:
            run_chunk(batch, GENERATE, chunk_id, Lane(client, "here", Progress(""), (), 5, lock), in_time)

    lanes = [threading.Thread(target=run, args=(chunk_id,)) for chunk_id in ("00000", "00001")]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    assert outcomes(batch)["poison"].error.code == "killed_its_server"
    assert outcomes(batch)["good"].status is Status.COMPLETED
    assert batch.part("generate", "00001")[0].status is Status.COMPLETED


def test_a_lane_ahead_finishes_its_chunk_and_finds_the_item_that_kills_its_server(tmp_path, lane):
    prompts = {f"i{n:02}": "fine" for n in range(5 * GENERATE.batch_size)}
    prompts |= {"i03": "kill always", "i09": "kill 1"}
    batch = batch_of(tmp_path, prompts)
    ahead = replace(lane, grace_s=5, ahead_lock=tmp_path / "ahead.lock", alone_lock=tmp_path / "alone.lock")
    report = generate(batch, ahead)
    assert (report.completed, report.failed) == (len(prompts) - 1, 1)
    assert list(outcomes(batch)) == list(prompts)
    assert outcomes(batch)["i03"].error.code == "killed_its_server"


def test_asked_to_stop_a_lane_that_is_ahead_keeps_what_was_in_flight(tmp_path, lane, server):
    batch = batch_of(tmp_path, {f"i{n}": "fine" for n in range(4 * GENERATE.batch_size)})
    draining = ChunkStopped("draining")
    asked = iter([None, None, draining])
    lock = tmp_path / "ahead.lock"
    stopping = replace(lane, ahead_lock=lock, should_stop=lambda: next(asked, draining))
    with pytest.raises(ChunkStopped, match="draining"):
        generate(batch, stopping)
    assert len(server.asked) == 2 * GENERATE.batch_size
    generate(batch, lane)
    assert set(server.asked.values()) == {1}


def test_one_lane_of_a_server_is_ahead_until_its_chunk_ends(tmp_path):
    lock = tmp_path / "run" / "ahead.lock"
    with Turn(lock) as second:
        with Turn(lock) as first:
            assert first.mine()
            assert not second.mine()
        assert second.mine()
    with Turn(None) as nobody:
        assert not nobody.mine()
