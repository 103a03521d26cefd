"""One real stack whose stages sleep: machines of given speeds that can be broken, and no load on the CPU."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery

from darkroom import stack as plant_of
from darkroom.live.progress import Progress
from darkroom.stack.home import Home
from darkroom.stack.layout import BROKER
from darkroom.stack.serving_parts import celery_name
from tests.faults import FLEET
from tests.faults.outcome import wasted
from tests.stack.handle import StackUnderTest, new_folder, running
from tests.stack.plant import source, started, until, whole

SCHEDULERS, TRIGGERERS = (["scheduler-1", "scheduler-2"], ["triggerer-1", "triggerer-2"])


def pytest_terminal_summary(terminalreporter):
    """What each fault has cost."""
    terminalreporter.section("work that was wasted")
    for line in wasted:
        terminalreporter.write_line(line)


@dataclass
class Fleet:
    """What breaks the fleet's machines."""

    flags: Path

    def put(self, flag: str, server: str, text: str = "") -> Path:
        """Put up a flag that a server of `bench/fleet` obeys: `broken`, `hang`, `load`, `speed`, `count`."""
        path = self.flags / f"{flag}-{server}"
        path.write_text(text)
        return path

    def mend(self) -> None:
        """Items that fail as they were asked to do so no more."""
        (self.flags / "mended").touch()


@pytest.fixture(scope="package")
def stack():
    """The stack; a test that breaks it waits until it is whole again."""
    folder = new_folder()
    flags = folder / "flags"
    flags.mkdir()
    config = {"seconds_per_item": 0.1, "flags": str(flags)}
    rows = {"generate": {"config": config, "model": "paint@1"}}
    # Chunks of seconds, runs of a few chunks: all that happens to a million items happens to some hundred.
    sizes = {"DARKROOM_MIN_CHUNK_S": "1.5", "DARKROOM_MAX_CHUNK_S": "2.5", "DARKROOM_SHARD_CHUNKS": "16"}
    twins = {"DARKROOM_SCHEDULERS": "2", "DARKROOM_TRIGGERERS": "2"}
    day = {"source": f"{folder}/inputs/daily/{{day}}.jsonl", "flow": "A", "wait_h": 48}
    more = {**sizes, **twins, "DARKROOM_DAILY": json.dumps(day)}
    started_stack = StackUnderTest(Home(folder / "home"), stages=FLEET, rows=rows, more=more)
    with running(started_stack) as up:
        yield up


@pytest.fixture
def fleet(stack):
    """The machines, whole again afterwards."""
    fleet = Fleet(stack.home.path.parent / "flags")
    whole()
    yield fleet
    for flag in fleet.flags.iterdir():
        flag.unlink()


@pytest.fixture
def submit(stack):
    """Starts a batch of prompts and waits until its first pictures are made."""

    def start(count, made=8, flow="A", prompts=None, **params):
        whole()
        lines = [{"custom_id": f"i{n}", "prompt": (prompts or {}).get(n, "a picture")} for n in range(count)]
        text = "\n".join(json.dumps(line) for line in lines)
        run = started(flow, source("items.jsonl", text), respins=0, **params)
        until(lambda: done(run.batch_id) >= made, f"{made} pictures are made")
        return run

    return start


def done(batch_id, stage="generate"):
    """Items that a stage has finished with, as told live."""
    seen = Progress(plant_of.environment()["DARKROOM_REDIS_URL"]).read(batch_id)
    return seen.stages[stage].total if stage in seen.stages else 0


def queues(stack):
    """What the workers of stage A take from."""
    workers = [celery_name("generate-1"), celery_name("generate-2")]
    with Celery(broker=stack.addresses.redis_url(BROKER), set_as_current=False) as app:
        inspect = app.control.inspect(destination=workers, timeout=5, limit=len(workers))
        answers = inspect.active_queues() or {}
    return {worker: {queue["name"] for queue in taken} for worker, taken in answers.items()}
