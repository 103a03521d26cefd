"""The supervisor of a model server against servers that die, hang, leak and do not load."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import psutil
import pytest
from tests.supervised import Supervised

from darkroom.errors import ServerGone, StageFailed
from darkroom.fleet.fence import Fence, fence_file
from darkroom.serving.status import State
from darkroom.settings import REPOSITORY
from darkroom.stages.base import Request


@pytest.fixture
def supervised(tmp_path):
    """Starts supervisors; ends them, and whatever they left, at the end."""
    with ExitStack() as begun:

        def start(*arguments: str, variables: dict | None = None, **row) -> Supervised:
            return begun.enter_context(Supervised(tmp_path, row, *arguments, **(variables or {})))

        yield start


def assert_gone(family: list[psutil.Process]) -> None:
    """All have ended; nobody may have collected them yet."""
    _, alive = psutil.wait_procs(family, 10)
    assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def background(function, *arguments):
    """`function` at work in a thread, whatever comes of it."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool.submit(function, *arguments)
    finally:
        pool.shutdown(wait=False)


def test_the_status_file_says_what_is_loaded_and_where(supervised):
    status = supervised().until(lambda status: status.state is State.READY and status.memory_mb)
    assert status.model == "puppet@1"
    assert status.implementation == "serving_stages:Puppet"
    assert status.loaded.device == "cpu"
    assert status.loaded.seconds >= 0
    assert status.memory_mb < status.memory_limit_mb == 4000
    assert status.gpu is None
    assert status.canary_s < 3


@pytest.mark.parametrize("victim", ["main", "model"])
def test_a_server_that_is_killed_in_the_middle_of_a_batch_is_back(supervised, victim):
    server = supervised()
    first = server.ready()
    with background(server.client.run, Request("a", prompt="hang")) as asked:
        server.until_in_flight("hang")
        pid = first.pid if victim == "main" else server.model_process().pid
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Exception, match=r"disconnected|reset|503|closed|error"):
            asked.result(15)
    again = server.ready(starts=2)
    assert again.pid != first.pid
    # Mosec, losing its model in a batch, first waits for that batch: whoever is first, notices.
    assert again.last_end.startswith("ended by itself" if victim == "main" else ("ended", "canary failed"))
    assert server.client.run(Request("b", prompt="echo", image=b"b")).image == b"b"


def test_a_server_that_hangs_is_killed_when_its_canary_misses_the_deadline(supervised):
    server = supervised(deadline_s=1)
    first = server.ready()
    with background(server.client.run, Request("a", prompt="hang")):
        again = server.ready(starts=2)
    assert "canary failed" in again.last_end
    assert "did not answer within" in again.last_end
    assert not psutil.pid_exists(first.pid)
    assert server.client.run(Request("b", prompt="echo", image=b"b")).image == b"b"


def test_a_model_process_that_is_frozen_is_killed_and_replaced(supervised):
    server = supervised(deadline_s=1)
    server.ready()
    frozen = server.model_process()
    frozen.suspend()
    server.ready(starts=2)
    assert not frozen.is_running()


def test_a_server_whose_sample_fails_is_started_anew(supervised, tmp_path):
    marker = tmp_path / "broken"
    server = supervised(implementation="serving_stages:Falls", config={"marker": str(marker)})
    server.ready()
    marker.touch()
    assert "illegal memory access" in server.ready(starts=2).last_end


def test_a_server_that_grows_beyond_its_memory_is_replaced_between_batches_and_no_request_fails(
    supervised, tmp_path
):
    diary = tmp_path / "diary"
    server = supervised(
        memory_mb=700, implementation="serving_stages:Keeper", variables={"DIARY": str(diary)}
    )
    server.ready()
    pids, failed = set(), []
    deadline = time.monotonic() + 30

    def ask(prompt: str) -> None:
        while len(pids) < 2 and not failed and time.monotonic() < deadline:
            try:
                pids.add(server.client.run(Request(prompt, prompt=prompt)).details["pid"])
            # Away, or a kept connection that it closed as the next request came: a client asks again.
            except ServerGone:
                time.sleep(0.1)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
                failed.append(error)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, ["slow", "leak", "slow", "echo"]))
    assert failed == []
    assert len(pids) == 2
    assert "memory_mb = 700" in server.ready(starts=2).last_end
    lines = diary.read_text().splitlines()
    replaced = lines[0].split()[0]
    assert lines.count(f"{replaced} began") == lines.count(f"{replaced} ended") > 1


def test_a_load_that_fails_is_told_once_and_tried_again_ever_more_slowly(supervised):
    server = supervised(implementation="serving_stages:Unloadable")
    status = server.until(lambda status: status.starts >= 3)
    assert "load failed: RuntimeError: no such device" in status.last_end
    text = server.log.read_text()
    assert text.count("Traceback") == 1
    begun = time.monotonic()
    server.until(lambda status: status.starts >= 4)
    assert time.monotonic() - begun > 1, "the back-off grows"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"implementation": "serving_stages:Sick"}, "prompt: told to fail"),
        ({"implementation": "serving_stages:None_"}, "no class 'None_'"),
        ({"implementation": "no_such_module_here:X"}, "no module 'no_such_module_here'"),
        ({"config": {"colour": 1}}, r"stages.puppet.config \(colour\)"),
    ],
)
def test_why_a_stage_does_not_load_is_in_its_status(supervised, row, reason):
    import re

    status = supervised(**row).until(lambda status: status.state is State.WAITING)
    assert re.search(reason, status.reason), status.reason


def test_an_interpreter_that_is_not_there_is_told(supervised):
    server = supervised(variables={"DARKROOM_SERVER_PYTHON": "no/such/python"})
    reason = server.until(lambda status: status.state is State.WAITING).reason
    assert "can't be started" in reason
    assert str(REPOSITORY / "no/such/python") in reason


def test_a_server_that_shall_use_no_gpu_sees_none(supervised):
    server = supervised("--gpu=none")
    server.ready()
    assert server.model_process().environ()["CUDA_VISIBLE_DEVICES"] == ""


def test_a_busy_server_is_not_taken_for_a_hanging_one(supervised):
    server = supervised(deadline_s=4)  # a batch takes half a second, and four may wait at once
    server.ready()
    until = time.monotonic() + 6

    def ask(_) -> None:
        while time.monotonic() < until:
            server.client.run(Request("a", prompt="slow"))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(12)))
    assert server.status().starts == 1
    assert server.status().canary_s > 0.3


def test_while_its_host_drains_its_lanes_do_not_count(supervised, tmp_path):
    server = supervised()
    server.ready()
    (tmp_path / "drain").touch()
    server.until(lambda status: status.state is State.DRAINING)
    (tmp_path / "drain").unlink()
    server.ready()


def test_a_fenced_server_goes_on_and_is_ready_when_its_time_is_over_and_a_canary_was_answered(
    supervised, tmp_path, monkeypatch
):
    monkeypatch.setattr("darkroom.fleet.fence.FIRST_FENCE_S", 1.0)
    fence = Fence(fence_file(tmp_path, "puppet"))
    server = supervised()
    before = server.ready()
    fence.strike("no such device")
    until = fence.strike("no such device").until
    fenced = server.until(lambda status: status.state is State.FENCED)
    assert fenced.reason == "no such device"
    assert fenced.since > before.since
    assert server.client.run(Request("b", prompt="echo", image=b"b")).image == b"b"
    again = server.ready()
    assert (again.starts, again.reason) == (1, "")
    assert again.updated >= until
    assert fence.fenced() is None


def test_a_server_that_does_not_answer_stays_fenced_although_its_time_is_over(
    supervised, tmp_path, monkeypatch
):
    monkeypatch.setattr("darkroom.fleet.fence.FIRST_FENCE_S", 0.1)
    fence = Fence(fence_file(tmp_path, "puppet"))
    server = supervised(deadline_s=1)
    server.ready()
    server.model_process().suspend()
    fence.strike("hangs")
    until = fence.strike("hangs").until
    assert server.until(lambda status: status.state is State.WAITING).updated > until
    assert fence.fenced()
    server.ready(starts=2)
    assert fence.fenced() is None


def test_a_fence_by_hand_shows_within_seconds_and_goes_when_it_is_taken_down(supervised, tmp_path):
    fence = Fence(fence_file(tmp_path, "puppet"))
    server = supervised()
    server.ready()
    fence.put_up("the fan is loud")
    server.until(lambda status: status.state is State.FENCED)
    fence.take_down()
    server.ready()


def test_sigterm_lets_what_is_in_flight_end_and_leaves_nothing(supervised):
    server = supervised()
    server.ready()
    family = server.tree()
    with background(server.client.run, Request("a", prompt="slow", image=b"a")) as asked:
        server.until_in_flight("slow")
        server.process.terminate()
        assert asked.result(10).image == b"a"
    assert server.process.wait(10) == 0
    assert_gone(family)
    assert server.status().state is State.STOPPED


def test_sigterm_while_it_hangs_ends_all_after_the_deadline(supervised):
    server = supervised(deadline_s=2)
    server.ready()
    family = server.tree()
    with background(server.client.run, Request("a", prompt="hang")):
        server.until_in_flight("hang")
        server.process.terminate()
        assert server.process.wait(15) == 0
    assert_gone(family)


def test_a_killed_supervisor_takes_its_server_with_it(supervised):
    server = supervised()
    server.ready()
    family = server.tree()
    assert len(family) >= 3
    server.process.kill()
    assert_gone(family)


def test_an_item_that_raises_fails_alone_in_its_batch(supervised):
    server = supervised()
    server.ready()
    barrier = threading.Barrier(4)

    def ask(prompt: str):
        barrier.wait()
        try:
            return server.client.run(Request(prompt, prompt=prompt)).details["id"]
        except StageFailed as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, ["a", "raise", "b", "c"]))
    assert answers == ["a", "RuntimeError: out of memory", "b", "c"]


def test_a_stage_that_miscounts_its_answers_is_told_so(supervised):
    server = supervised(implementation="serving_stages:Miscounts")
    server.ready()
    with pytest.raises(StageFailed, match=r"run\(\) gave 0 answers to 1 requests"):
        server.client.run(Request("a", prompt="odd"))


def test_a_bad_request_gets_a_422_that_names_the_field(supervised):
    from darkroom.serving.messages import encode_request

    server = supervised()
    server.ready()
    answer = httpx.post(f"{server.client.url}/inference", content=encode_request(Request("a", prompt="fail")))
    assert answer.status_code == 422
    assert "prompt: told to fail" in answer.text


@pytest.mark.parametrize("name", ["AIRFLOW__CELERY__BROKER_URL", "DARKROOM_BROKER_URL"])
def test_secrets_of_the_plant_do_not_reach_the_model(supervised, monkeypatch, name):
    monkeypatch.setenv(name, "redis://:secret@127.0.0.1/0")
    server = supervised()
    server.ready()
    assert name in psutil.Process(server.process.pid).environ()
    assert not [process for process in server.tree() if name in process.environ()]
