"""A machine that joins the plant and leaves it, and a model that hangs in the middle of a batch."""

import json
import signal
import subprocess

import psutil
import pytest

from darkroom.commands.batches import api
from darkroom.serving.status import ServerStatus, State, status_file
from darkroom.stack.home import Home
from darkroom.stack.leftovers import find_leftovers
from tests.stack.handle import COMMAND
from tests.stack.plant import batch_of, finished, source, started, until


@pytest.fixture
def way(stack, tmp_path):
    """What the plant's machine gives to others."""
    path = tmp_path / "worker.env"
    assert stack.darkroom("env", "--for-worker", "--path", str(path)).returncode == 0
    return path


@pytest.fixture
def machine(stack, way, tmp_path):
    """Another machine, with a state folder of its own: two stages on one device, drained at the end."""
    stack.wait_healthy(180)
    command = [*COMMAND, "worker", "--plant", str(way), "--stage", "generate,inspect", "--gpu", "0"]
    env = stack.env | {"DARKROOM_HOME": str(tmp_path / "home")}
    home = Home(tmp_path / "home" / "workers" / "generate+inspect-cpu0")
    with subprocess.Popen(command, env=env, text=True, stdout=-1, stderr=subprocess.STDOUT) as process:
        try:
            for name in ("generate-cpu0", "inspect-cpu0"):
                until(lambda name=name: is_ready(home, name), f"{name} is ready")
            yield process, home
        finally:
            process.send_signal(signal.SIGTERM)


def told(home: Home, name: str) -> ServerStatus | None:
    return ServerStatus.read(status_file(home.path, name))


def is_ready(home: Home, name: str, starts: int = 1) -> bool:
    status = told(home, name)
    return status is not None and status.state is State.READY and status.starts >= starts


def batch_of_prompts(items: int):
    lines = [{"custom_id": f"i{n}", "prompt": "a small blue star on a red background"} for n in range(items)]
    return started("A_C", source("shared.jsonl", "\n".join(map(json.dumps, lines))), respins=0)


def hosts(run) -> set[str]:
    """Who has finished a chunk of stage A."""
    batch = batch_of(run)
    if batch.index() is None:
        return set()
    parts = [batch.part("generate", chunk) for chunk in batch.planned().chunk_ids]
    return {row.host.split("@")[0] for part in parts if part for row in part}


def test_a_machine_joins_takes_its_share_and_drains_in_the_middle_of_a_batch(machine):
    worker, home = machine
    until(lambda: api().pools()["gpu_generate"] == 4, "the pool has the lanes of both servers")
    until(lambda: api().pools()["gpu_inspect"] == 3, "also of stage C")
    run = batch_of_prompts(160)
    until(lambda: "generate-cpu0" in hosts(run), "it has done a chunk")
    assert api().run_state("image_flow", run.run_id) == "running"
    worker.stdout.close()  # as when the terminal that it was started in is gone
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(90) == 0
    assert find_leftovers(home) == []
    _, summary = finished(run)
    assert summary.completed + summary.rejected == 160
    assert {"generate-1", "generate-cpu0"} <= {host.split("@")[0] for host in summary.by_host}


def test_a_machine_with_a_store_of_its_own_is_refused(stack, way, tmp_path):
    shared = f"DARKROOM_STORE={(stack.home.path / 'store').as_uri()}"
    assert shared in way.read_text()
    way.write_text(way.read_text().replace(shared, f"DARKROOM_STORE={(tmp_path / 'mine').as_uri()}"))
    refused = stack.darkroom("worker", "--stage", "inspect", "--plant", str(way))
    assert refused.returncode == 1
    assert "mine holds no plant's marker, not that of the control plane" in refused.stderr


def test_stages_that_do_not_fit_on_a_device_are_refused(stack):
    refused = stack.darkroom("worker", "--stage", "enhance,inspect", DARKROOM_DEVICE_MEMORY_MB="4000")
    assert refused.returncode == 2
    assert "enhance 3000 + inspect 1500 = 4500 MB" in refused.stderr


def test_a_model_that_hangs_in_a_batch_is_replaced_and_costs_no_item(stack):
    stack.wait_healthy(180)
    starts = told(stack.home, "generate-1").starts
    run = batch_of_prompts(80)
    until(lambda: any(ti["state"] == "running" for ti in chunks(run)), "a chunk runs")
    server = psutil.Process(told(stack.home, "generate-1").pid)
    model = next(p for p in server.children(recursive=True) if "spawn_main" in " ".join(p.cmdline()))
    model.suspend()
    until(lambda: is_ready(stack.home, "generate-1", starts=starts + 1), "its supervisor has replaced it")
    assert "canary failed" in told(stack.home, "generate-1").last_end
    _, summary = finished(run)
    assert summary.completed + summary.rejected == 80


def chunks(run):
    return [ti for ti in api().task_instances("image_flow", run.run_id) if ti["task_id"] == "a_c.generate"]
