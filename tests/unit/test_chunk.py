"""Chunks against a real HTTP server that misbehaves as it is told, item by item."""

import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.plant import leftovers, save_plan_chunk

from darkroom.artifacts import ArtifactKey
from darkroom.batches import Batch, Index
from darkroom.chunk import Lane, run_chunk
from darkroom.errors import (
    BatchSuspect,
    ChunkStopped,
    HostSuspect,
    NotPlanned,
    ServerGone,
    StageFailed,
    StoreUnavailable,
)
from darkroom.flows import STAGES
from darkroom.manifest import collect
from darkroom.progress import Progress
from darkroom.records import BatchRequest, PlannedItem, Status, Verdict
from darkroom.serving import wire
from darkroom.serving.client import StageClient
from darkroom.serving.messages import encode_answer
from darkroom.stages.base import Output
from darkroom.stages.noop import PNG
from darkroom.storage import Store, open_store
from darkroom.turns import Turn

GENERATE, INSPECT = STAGES["generate"], STAGES["inspect"]


class MisbehavingServer(ThreadingHTTPServer):
    """Answers each item as `behaviour` says for its prompt; counts how often each was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = Counter()
        self.lock = threading.Lock()
        self.down = False
        self.crashes = 0
        self.closing = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):  # noqa: PLR0911, PLR0912 - a table of behaviours
        header, _ = wire.unpack(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.down:
            return self.drop()
        if header.get("canary"):
            return self.answer(Output(image=PNG))
        item = header["item"]
        with self.server.lock:
            self.server.asked[item["custom_id"]] += 1
            times = self.server.asked[item["custom_id"]]
        match (item["prompt"] or "").split():
            case ["fail", "always"]:
                return self.answer(StageFailed("no"))
            case ["fail", n] if times <= int(n):
                return self.answer(StageFailed("not yet"))
            case ["kill", "always"]:
                time.sleep(0.1)
                return self.die()
            case ["kill", n] if times <= int(n):
                return self.die()
            case ["hang"]:
                self.server.closing.wait()
                return self.drop()
            case ["slow"]:
                before = self.server.crashes
                for _ in range(20):
                    time.sleep(0.01)
                    if self.server.crashes > before:
                        return self.drop()
            case ["busy", n] if times <= int(n):
                return self.send(429, b"busy")
            case ["drains", n] if times <= int(n):
                return self.send(503, b"draining")
            case ["down"] if times == 1:
                self.server.down = True
                return self.drop()
            case ["nothing"]:
                return self.answer(Output())
        verdict = Verdict(accepted=item["custom_id"] != "ugly", reasons=[])
        return self.answer(Output(image=PNG, verdict=verdict, details={"said": item["custom_id"]}))

    def answer(self, output):
        self.send(200, encode_answer(output))

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drop(self):
        self.close_connection = True
        self.connection.close()

    def die(self):
        """As a server that crashes: whatever is in flight dies with it."""
        self.server.crashes += 1
        self.drop()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with MisbehavingServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture
def lane(server):
    with StageClient(server.url, deadline_s=5) as client:
        yield Lane(client, host="here", progress=Progress(""), input_roots=(), grace_s=0.5)


def batch_of(tmp_path, prompts, flow="A_C", at=None, **fields):
    batch = Batch(open_store(tmp_path.as_uri()), "b1")
    batch.save_request(BatchRequest(flow=flow, source="x", batch_id="b1"))
    items = [
        PlannedItem(custom_id=name, prompt=prompt, seed=n, **fields)
        for n, (name, prompt) in enumerate(prompts.items())
    ]
    if at is not None:
        items = [item.model_copy(update={"expires_at": when}) for item, when in zip(items, at, strict=True)]
    save_plan_chunk(batch, "00000", items)
    index = Index(flow=flow, chunk_ids=["00000"], sizes=[len(items)], items=len(items))
    batch.save_index(index)
    return batch


def in_time(_elapsed_s):
    return False


def outcomes(batch, stage=GENERATE):
    return {row.custom_id: row for row in batch.part(stage.name, "00000")}


def generate(batch, lane, budget_s=60):
    return run_chunk(batch, GENERATE, "00000", lane, lambda elapsed_s: elapsed_s > budget_s)


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


def test_an_item_is_tried_three_times_then_set_aside_and_its_neighbours_pass(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"bad": "fail always", "shaky": "fail 2", "good": "fine"})
    report = generate(batch, lane)
    rows = outcomes(batch)
    assert (rows["bad"].status, rows["bad"].error.code, rows["bad"].attempts) == ("failed", "stage_failed", 3)
    assert (rows["shaky"].status, rows["shaky"].attempts) == ("completed", 3)
    assert rows["good"].status is Status.COMPLETED
    assert server.asked == {"bad": 3, "shaky": 3, "good": 1}
    assert (report.completed, report.failed) == (2, 1)


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


def test_an_answer_without_a_picture_is_an_error_of_its_item(tmp_path, lane):
    batch = batch_of(tmp_path, {"empty": "nothing", "good": "fine"})
    generate(batch, lane)
    assert outcomes(batch)["empty"].error.code == "stage_failed"
    assert outcomes(batch)["good"].status is Status.COMPLETED


def test_an_item_that_kills_its_server_is_found_and_its_neighbours_pass(tmp_path, lane):
    batch = batch_of(tmp_path, {"poison": "kill always", "good": "fine", "better": "fine"})
    generate(batch, lane)
    rows = outcomes(batch)
    assert (rows["poison"].status, rows["poison"].error.code) == ("failed", "killed_its_server")
    assert rows["poison"].attempts == 3
    assert rows["good"].status is rows["better"].status is Status.COMPLETED


def test_an_item_that_hangs_its_server_is_found_and_its_neighbours_pass(tmp_path, server):
    batch = batch_of(tmp_path, {"poison": "hang", "good": "fine"})
    with StageClient(server.url, deadline_s=1) as client:
        generate(batch, Lane(client, "here", Progress(""), (), grace_s=10))
    rows = outcomes(batch)
    assert (rows["poison"].status, rows["poison"].error.code) == ("failed", "hung_its_server")
    assert rows["good"].status is Status.COMPLETED


def test_a_host_that_crawls_blames_no_item_for_not_answering_in_time(tmp_path, server):
    batch = batch_of(tmp_path, {f"i{n}": "hang" for n in range(GENERATE.batch_size)} | {"good": "fine"})
    with StageClient(server.url, deadline_s=1) as client:
        lane = Lane(client, "here", Progress(""), (), grace_s=10)
        looks = iter([False, False])
        report = run_chunk(batch, GENERATE, "00000", lane, lambda _: next(looks, True))
    assert report.out_of_time
    assert batch.part("generate", "00000") == [], "the item that hung, and those not tried, are left over"


def test_a_server_that_died_once_costs_no_item(tmp_path, lane):
    batch = batch_of(tmp_path, {"unlucky": "kill 1", "good": "fine"})
    generate(batch, lane)
    assert {row.status for row in outcomes(batch).values()} == {Status.COMPLETED}


def test_a_full_queue_costs_no_try(tmp_path, lane):
    batch = batch_of(tmp_path, {"queued": "busy 2"})
    generate(batch, lane)
    assert (outcomes(batch)["queued"].status, outcomes(batch)["queued"].attempts) == ("completed", 1)


def test_a_server_that_drains_is_waited_for_and_costs_no_try_nor_a_suspicion(tmp_path, lane, server):
    batch = batch_of(tmp_path, {"first": "drains 2", "second": "fine"})
    generate(batch, lane)
    assert {name: row.attempts for name, row in outcomes(batch).items()} == {"first": 1, "second": 1}
    assert server.asked["first"] == 3


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


def test_an_image_that_exists_is_not_computed_again_by_another_batch(tmp_path, lane, server):
    generate(batch_of(tmp_path, {"a": "fine"}), lane)
    other = Batch(open_store(tmp_path.as_uri()), "b2")
    other.save_request(BatchRequest(flow="A", source="x", batch_id="b2"))
    save_plan_chunk(other, "00000", [PlannedItem(custom_id="other", prompt="fine", seed=0)])
    generate(other, lane)
    row = outcomes(other)["other"]
    assert (row.status, row.attempts, row.details["said"]) == ("completed", 0, "a")
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
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_a_stage_whose_predecessor_has_no_part_says_so(tmp_path, lane):
    batch = batch_of(tmp_path, {"a": "fine"})
    with pytest.raises(NotPlanned, match="no part of stage generate"):
        run_chunk(batch, INSPECT, "00000", lane, in_time)


def test_the_key_changes_with_everything_that_shapes_the_picture_and_with_nothing_else():
    from darkroom.stages.base import Request

    base = Request("a", prompt="p", seed=1)
    same = [Request("b", prompt="p", seed=1)]
    other = [
        Request("a", prompt="q", seed=1),
        Request("a", prompt="p", seed=2),
        Request("a", prompt="p", seed=1, width=64),
        Request("a", prompt="p", seed=1, height=64),
        Request("a", prompt="p", seed=1, image=b"x"),
        Request("a", prompt="p", seed=1, options={"steps": 2}),
    ]
    key = ArtifactKey.of(GENERATE, base).digest
    assert {ArtifactKey.of(GENERATE, request).digest for request in same} == {key}
    digests = {ArtifactKey.of(GENERATE, request).digest for request in other}
    assert len(digests | {key, ArtifactKey.of(INSPECT, base).digest}) == len(other) + 2


def test_while_an_item_is_tried_alone_the_other_lane_of_the_server_waits(tmp_path, server):
    """Else each would see its server die under the other's poison, three times, and be set aside."""
    batch = batch_of(tmp_path, {"poison": "kill always", "good": "fine"})
    save_plan_chunk(batch, "00001", [PlannedItem(custom_id="slow", prompt="slow", seed=9)])
    lock = tmp_path / "alone.lock"

    def run(chunk_id):
        with StageClient(server.url, deadline_s=5) as client:
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
