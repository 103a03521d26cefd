"""Which stage is named before and after a machine joins: a plant of its own, whose stages sleep.

The one server of A makes 600 items in 240 s, that of B in 180 s. C judges them all: with two servers in
360 s, with four in 180 s.
"""

import json
import signal
import subprocess

import pytest

from darkroom.stack.home import Home
from darkroom.stages.noop import PNG
from tests.faults import FLEET
from tests.stack.handle import COMMAND, StackUnderTest, new_folder, running
from tests.stack.plant import seen, source, started, until

ITEMS, ITEM_S = 300, {"generate": 0.4, "enhance": 0.3, "inspect": 0.6}
SERVERS = {"generate": 1, "enhance": 1, "inspect": 2}
KINDS = {
    "generate": {"implementation": "paint:Draw", "model": "paint@1"},
    "enhance": {"implementation": "paint:Draw", "model": "paint-b@1", "summary": "sleeps"},
    "inspect": {"implementation": "paint:Judge", "model": "judge@2"},
}


@pytest.fixture(scope="module")
def stack():
    rows = {
        stage: {
            **kind, "servers": SERVERS[stage], "seconds_per_item": ITEM_S[stage], "batch_size": 2,
            "lanes_per_server": 2, "memory_mb": 500, "config": {"seconds_per_item": ITEM_S[stage]},
        }
        for stage, kind in KINDS.items()
    }  # fmt: skip
    more = {"DARKROOM_MIN_CHUNK_S": "5", "DARKROOM_MAX_CHUNK_S": "10"}
    with running(StackUnderTest(Home(new_folder() / "home"), stages=FLEET, rows=rows, more=more)) as up:
        yield up


@pytest.fixture
def four_batches(stack):
    """Two of A_C and two of B_C, at work; no two items are alike."""
    sources = []
    for name in ("a1", "a2"):
        lines = [json.dumps({"custom_id": f"i{n}", "prompt": f"{name} {n}"}) for n in range(ITEMS)]
        sources.append(("A_C", source(f"{name}.jsonl", "\n".join(lines))))
    for name in ("b1", "b2"):
        files = [source(f"{name}/{n:03}.png", PNG + f"{name} {n}".encode()) for n in range(ITEMS)]
        sources.append(("B_C", files[0].parent))
    runs = [started(flow, where, respins=0) for flow, where in sources]
    yield {run.batch_id for run in runs}
    for run in runs:
        assert stack.darkroom("cancel", run.batch_id).returncode == 0


@pytest.fixture
def machine(stack, tmp_path):
    """Starts a machine with two further servers of C; it drains at the end."""
    way, started_here = tmp_path / "worker.env", []
    assert stack.darkroom("env", "--for-worker", "--path", str(way)).returncode == 0

    def join():
        command = [*COMMAND, "worker", "--plant", str(way), "--stage", "inspect", "--gpu", "0", "--gpu", "1"]
        env = stack.env | {"DARKROOM_HOME": str(tmp_path / "home")}
        started_here.append(
            subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        )

    yield join
    for process in started_here:
        process.send_signal(signal.SIGTERM)
        process.wait(120)  # not always 0: its servers are named before its workers have started


def test_inspect_is_named_with_two_servers_and_generate_when_two_more_join(four_batches, machine):
    def named(stage, servers):
        plant = seen()
        here = {one.outlook.batch_id for one in plant.batches if one.run_state == "running"}
        ready = {one.stage: one.servers.ready for one in plant.stages}
        told = (plant.bottleneck.kind, plant.bottleneck.stage) == ("stage", stage)
        return plant if told and ready["inspect"] == servers and four_batches <= here else None

    before = until(lambda: named("inspect", 2), "inspect is named while four batches run")
    assert before.bottleneck.sentence.startswith("inspect is the bottleneck: ")
    machine()
    after = until(lambda: named("generate", 4), "generate is named when C has four servers")
    assert after.bottleneck.sentence.startswith("generate is the bottleneck: ")
    assert after.bottleneck.time_left_s < before.bottleneck.time_left_s
    inspect = next(one for one in after.stages if one.stage == "inspect")
    assert inspect.more.change == pytest.approx(0, abs=0.05), "one more of C would not help now"
