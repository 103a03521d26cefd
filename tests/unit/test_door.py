"""The side door of a model server: real servers, and what their stage wrote down of its batches."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_serving import READY_S, Running, in_background, running, wait_for

from darkroom.errors import InvalidItem, ServerAway, ServerBusy, ServerGone, ServerTimeout, StageFailed
from darkroom.flows import STAGES
from darkroom.serving.client import StageClient
from darkroom.serving.door import Door
from darkroom.stages.base import Request

BATCH = STAGES["generate"].batch_size


@dataclass
class WithDoor:
    """A model server with a door, and the diary of its stage."""

    server: Running
    door: Path
    diary: Path

    def client(self, deadline_s: float = 20) -> StageClient:
        return StageClient(f"unix://{self.door}", deadline_s)

    def batches(self) -> list[list[str]]:
        """The ids of each batch that the stage has begun, in their order."""
        return [line.split() for line in self.diary.read_text().splitlines()] if self.diary.exists() else []


@contextmanager
def with_door(folder: Path, stage: str = "Diary"):
    door, diary = folder / "door.sock", folder / "diary"
    environment = {"DARKROOM_DOOR": str(door), "DIARY": str(diary)}
    with running("generate", f"serving_stages:{stage}", **environment) as server:
        yield WithDoor(server, door, diary)


@pytest.fixture(scope="module")
def puppet(tmp_path_factory):
    """One that no test hangs or kills."""
    with with_door(tmp_path_factory.mktemp("puppet"), "Puppet") as opened:
        yield opened


def bulk(client: StageClient, batch: int) -> list[threading.Thread]:
    """A whole batch of bulk, sent at once."""
    return [in_background(lambda n=n: client.run(Request(f"bulk-{batch}-{n}"))) for n in range(BATCH)]


def kinds(batches: list[list[str]]) -> str:
    """Each batch as a letter: `b`ulk, `d`oor, `x` for one of both."""
    found = [{entry.split("-")[0] for entry in batch} for batch in batches]
    return "".join({("bulk",): "b", ("door",): "d"}.get(tuple(names), "x") for names in found)


def test_who_comes_to_the_door_waits_for_no_batch_but_the_one_at_work(tmp_path):
    with with_door(tmp_path) as opened, opened.server.client() as queue, opened.client() as door:
        waiting = bulk(queue, 1)
        wait_for(lambda: len(opened.batches()) == 1)
        waiting += bulk(queue, 2) + bulk(queue, 3)
        assert door.run(Request("door-1", image=b"picture")).image == b"picture"
        at_answer = opened.batches()
        for thread in waiting:
            thread.join(READY_S)
        assert kinds(at_answer).rstrip("b") in ("bd", "bbd")  # the second may have begun before it came
        assert kinds(opened.batches()).count("d") == 1
        everybody = {entry for batch in opened.batches() for entry in batch}
        assert everybody == {"door-1", *(f"bulk-{b}-{n}" for b in (1, 2, 3) for n in range(BATCH))}


def test_bulk_goes_on_between_two_batches_of_the_door(tmp_path):
    with with_door(tmp_path) as opened, opened.server.client() as queue, opened.client() as door:
        waiting = bulk(queue, 1)
        wait_for(lambda: len(opened.batches()) == 1)
        waiting += bulk(queue, 2) + bulk(queue, 3)
        with ThreadPoolExecutor(3 * BATCH) as many:
            list(many.map(lambda n: door.run(Request(f"door-{n}")), range(3 * BATCH)))
        for thread in waiting:
            thread.join(READY_S)
        order = kinds(opened.batches())
        assert order.count("b") >= 3
        assert "dd" not in order.rstrip("d"), order


def test_an_idle_server_answers_at_its_door_as_it_does_in_its_queue(puppet):
    with puppet.client() as door, puppet.server.client() as queue:
        request = Request("a", image=os.urandom(1 << 20))
        at_the_door, in_the_queue = door.run(request), queue.run(request)
        assert at_the_door == in_the_queue
        door.wait_until_healthy(5)


def test_many_at_the_door_share_batches_and_keep_their_answers(puppet):
    requests = [Request(str(n), image=bytes([n])) for n in range(60)]
    with puppet.client() as door, ThreadPoolExecutor(20) as many:
        outputs = list(many.map(door.run, requests))
    assert [output.image for output in outputs] == [request.image for request in requests]
    assert max(output.details["batch"] for output in outputs) > 1


def test_an_error_at_the_door_is_the_error_of_the_queue(puppet):
    with puppet.client() as door:
        with pytest.raises(InvalidItem, match="told to fail"):
            door.run(Request("a", prompt="fail"))
        with pytest.raises(StageFailed, match="out of memory"):
            door.run(Request("a", prompt="raise"))
        with pytest.raises(InvalidItem, match="frame"):
            door._send(b"hello", timeout_s=5)
        with pytest.raises(InvalidItem, match="64 MB"):
            door.run(Request("a", image=bytes(65 << 20)))
        assert door.run(Request("b", image=b"next")).image == b"next"


def test_only_the_owner_may_knock(puppet):
    assert stat.S_IMODE(puppet.door.stat().st_mode) == 0o600


def test_a_server_without_a_door_is_away(tmp_path):
    with StageClient(f"unix://{tmp_path / 'none.sock'}", 1) as door, pytest.raises(ServerAway):
        door.run(Request("a"))


def test_a_server_that_dies_is_gone_then_away_and_the_next_one_takes_its_door(tmp_path):
    with with_door(tmp_path, "Puppet") as opened, opened.client() as door:
        with pytest.raises(ServerGone) as caught:
            door.run(Request("a", prompt="die"))
        assert type(caught.value) is ServerGone
        opened.server.process.wait(15)
        with pytest.raises(ServerAway):
            door.run(Request("b"))
        assert opened.door.exists()
    with with_door(tmp_path, "Puppet") as again, again.client() as door:
        assert door.run(Request("c", image=b"c")).image == b"c"


def test_who_stands_at_the_door_of_a_server_that_is_killed_is_told(tmp_path):
    with with_door(tmp_path) as opened, opened.client() as door, ThreadPoolExecutor(BATCH) as many:
        asked = [many.submit(door.run, Request(f"door-{n}")) for n in range(BATCH)]
        wait_for(opened.batches)
        opened.server.worker().kill()
        wait(asked, 15)
        assert all(isinstance(answer.exception(0), ServerGone) for answer in asked)


def test_a_hanging_server_does_not_keep_who_is_at_its_door(tmp_path):
    with with_door(tmp_path, "Puppet") as opened, opened.client(deadline_s=0.5) as door:
        in_background(lambda: door.run(Request("a", prompt="hang")))
        with pytest.raises(ServerTimeout):
            door.run(Request("b"))


def test_asked_to_end_the_server_answers_who_was_let_in_and_then_nobody(tmp_path):
    with with_door(tmp_path) as opened, opened.client() as door, ThreadPoolExecutor(1) as one:
        asked = one.submit(door.run, Request("door-1"))
        wait_for(opened.batches)
        opened.server.process.terminate()
        assert asked.result(15).details["id"] == "door-1"
        assert opened.server.process.wait(15) == 0
        with pytest.raises(ServerAway):
            door.run(Request("door-2"))


def test_where_too_many_wait_one_is_told_to_come_again(tmp_path):
    door = Door(tmp_path / "door.sock", port=1, most=0, deadline_s=1)
    assert door.ask(b"x")[0] == 429
    with StageClient(f"unix://{tmp_path / 'door.sock'}", 5) as client, pytest.raises(ServerBusy):
        client.run(Request("a"))
