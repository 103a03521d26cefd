"""Real Celery workers on a real Valkey, told to stand aside and to come back."""

import os
import subprocess
import sys
import time

import pytest
from celery import Celery
from tests.servers import free_port

from darkroom.fleet.consumers import ASK_EVERY_S, Consumers, WorkersUnknown

QUEUE = "gpu.generate"
DEADLINE_S = 40


class Fleet:
    """Celery workers as the plant starts them, but of an application without tasks."""

    def __init__(self, broker: str, folder) -> None:
        self.app = Celery(broker=broker, set_as_current=False)
        self._broker, self._folder, self._running = broker, folder, {}

    def start(self, worker: str) -> None:
        options = ["--queues", QUEUE, "--pool", "solo", "-n", worker, "--without-gossip", "--without-mingle"]
        self._running[worker] = subprocess.Popen(
            [sys.executable, "-m", "celery", "-b", self._broker, "worker", *options],
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy(),
        )  # fmt: skip
        self.until(worker, consumes=True)

    def kill(self, worker: str) -> None:
        process = self._running.pop(worker)
        process.kill()
        process.wait()

    def end(self) -> None:
        for worker in list(self._running):
            self.kill(worker)

    def until(self, worker: str, *, consumes: bool) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.queues(worker) != ({QUEUE} if consumes else set()):
            assert time.monotonic() < deadline, worker

    def queues(self, worker: str) -> set[str] | None:
        inspect = self.app.control.inspect(destination=[worker], timeout=2, limit=1)
        answers = inspect.active_queues()
        return {queue["name"] for queue in answers[worker]} if answers else None


@pytest.fixture(scope="module")
def fleet(valkey, tmp_path_factory):
    fleet = Fleet(valkey, tmp_path_factory.mktemp("workers"))
    try:
        fleet.start("generate-1@h1")
        fleet.start("generate-1@h2")
        yield fleet
    finally:
        fleet.end()


def test_a_worker_stands_aside_and_the_other_goes_on_and_it_comes_back(fleet, valkey):
    consumers = Consumers(valkey)
    out = {("generate-1@h1", QUEUE): False, ("generate-1@h2", QUEUE): True}
    consumers.follow(out, 0)
    fleet.until("generate-1@h1", consumes=False)
    assert fleet.queues("generate-1@h2") == {QUEUE}
    consumers.follow(dict.fromkeys(out, True), 1)
    fleet.until("generate-1@h1", consumes=True)


def test_a_worker_that_restarts_is_told_again(fleet, valkey):
    consumers, out = Consumers(valkey), {("generate-1@h1", QUEUE): False}
    consumers.follow(out, 0)
    fleet.until("generate-1@h1", consumes=False)
    consumers.follow(out, 1)  # what was told is looked at once more
    fleet.kill("generate-1@h1")
    fleet.start("generate-1@h1")
    consumers.follow(out, 2)
    assert fleet.queues("generate-1@h1") == {QUEUE}, "nothing has changed: nobody is asked"
    consumers.follow(out, 1 + ASK_EVERY_S)
    fleet.until("generate-1@h1", consumes=False)
    consumers.follow(dict.fromkeys(out, True), 3 + ASK_EVERY_S)
    fleet.until("generate-1@h1", consumes=True)


def test_a_worker_that_is_not_there_holds_nobody_up(fleet, valkey):
    consumers = Consumers(valkey)
    consumers.follow({("gone@h9", QUEUE): False, ("generate-1@h2", QUEUE): False}, 0)
    fleet.until("generate-1@h2", consumes=False)
    consumers.follow({("generate-1@h2", QUEUE): True}, 1)
    fleet.until("generate-1@h2", consumes=True)


def test_a_broker_that_does_not_answer_is_told_and_asked_again():
    consumers = Consumers(f"redis://127.0.0.1:{free_port()}/0")
    for now in (0, 1):
        with pytest.raises(WorkersUnknown):
            consumers.follow({("generate-1@h1", QUEUE): True}, now)
