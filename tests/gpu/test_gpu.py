"""What only a real GPU shows: the driver's figures, its errors, its memory when it is full.

`make test-gpu` runs this in `.venv-gpu`, with pipelines of random weights; without a GPU it is skipped.
"""

import json
import logging
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from darkroom.errors import StageFailed
from darkroom.serving.gpu import Gpu, gpu_count
from darkroom.stages.base import Output, Request
from darkroom.stages.diffusion import Diffusion
from tests.supervised import Supervised

torch = pytest.importorskip("torch", reason="PyTorch is not installed here: make test-gpu")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

BATCH = 16
SIDE = 1024
WRITE_TO_NOWHERE = """
import logging, time, torch
from darkroom.serving.gpu import Gpu

logging.basicConfig(level=logging.INFO)
gpu = Gpu("0")
gpu.watch_errors()
time.sleep(2)  # its thread registers with the driver
source = 'extern "C" __global__ void poke(float* at) { at[1ll << 40] = 1; }'
torch.cuda._compile_kernel(source, "poke")((1, 1, 1), (1, 1, 1), (torch.zeros(1, device="cuda"),))
try:
    torch.cuda.synchronize()
except RuntimeError as error:
    print(str(error).splitlines()[0])
until = time.monotonic() + 20
while not gpu.look().xid_errors and time.monotonic() < until:
    time.sleep(0.2)
print(gpu.look().xid_errors)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of a tiny pipeline."""
    from bench import pipelines

    return pipelines.tiny_sdxl(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def stage(tiny):
    """A loaded stage, alone in this process."""
    found = Diffusion(pipeline=str(tiny), side=SIDE)
    found.load()
    yield found
    del found._pipeline
    torch.cuda.empty_cache()


def pictures(count: int) -> list[Request]:
    return [Request(f"{n}", prompt=f"number {n}", seed=n, options={"steps": 2}) for n in range(count)]


def peak_bytes(stage: Diffusion, count: int) -> int:
    """What PyTorch takes of the GPU at most for one batch."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    assert all(isinstance(output, Output) for output in stage.run(pictures(count)))
    return torch.cuda.max_memory_reserved()


@contextmanager
def at_most(limit_bytes: int):
    """PyTorch takes no more of the GPU than that."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit_bytes / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def supervised(folder, pipeline, **row) -> Supervised:
    row |= {
        "implementation": "darkroom.stages.diffusion:Diffusion",
        "options": "darkroom.stages.options:DiffusionOptions",
        "deadline_s": 60, "load_s": 120, "config": {"pipeline": str(pipeline), "side": 64},
    }  # fmt: skip
    return Supervised(folder, row, "--gpu=0")


def test_a_look_says_what_pytorch_says():
    gpu = Gpu("0")
    seen, known = gpu.look(), torch.cuda.get_device_properties(0)
    assert seen.name == known.name
    assert seen.uuid.removeprefix("GPU-") == str(known.uuid)
    assert seen.memory_total_mb == pytest.approx(known.total_memory >> 20, rel=0.05)
    assert 0 < seen.memory_used_mb < seen.memory_total_mb
    assert 0 < seen.temperature_c < 110
    assert seen.xid_errors == []
    assert Gpu(seen.uuid).index == seen.index == 0
    assert gpu_count() == torch.cuda.device_count()


def test_a_gpu_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"no GPU '77' \(.+\); there are: 0"):
        Gpu("77")


def test_memory_of_a_process_is_what_the_driver_counts_for_it():
    gpu, size = Gpu("0"), 3 << 30
    torch.zeros(1, device="cuda")
    before = gpu.memory_mb([os.getpid()])
    if before is None:
        pytest.skip("this driver does not say which process takes how much")
    held = torch.zeros(size, dtype=torch.uint8, device="cuda")
    assert gpu.memory_mb([os.getpid()]) - before == pytest.approx(size >> 20, rel=0.05)
    del held
    torch.cuda.empty_cache()
    assert gpu.memory_mb([1]) is None


def test_a_kernel_that_writes_to_nowhere_is_seen_as_an_xid_error():
    """In a process of its own: PyTorch is of no use after it."""
    found = subprocess.run(
        [sys.executable, "-c", WRITE_TO_NOWHERE],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    error, xids = found.stdout.splitlines()
    assert "illegal memory access" in error
    if "no Xid errors are reported" in found.stderr:
        pytest.skip("this driver reports no Xid errors")
    assert set(json.loads(xids)) & {13, 31}, found.stderr


def test_what_does_not_fit_into_the_gpus_memory_is_halved_and_the_size_that_fits_is_remembered(stage, caplog):
    one, all_of_them = peak_bytes(stage, 1), peak_bytes(stage, BATCH)
    with at_most((one + all_of_them) // 2), caplog.at_level(logging.WARNING):
        outputs = stage.run(pictures(BATCH))
        (limit,) = stage._limits.values()
        said = len(caplog.records)
        again = stage.run(pictures(BATCH))
    assert all(isinstance(output, Output) for output in outputs + again)
    assert limit < BATCH
    assert {output.details["batch"] for output in outputs} == {limit}
    assert len(caplog.records) == said, "it runs out of memory once"


def test_one_picture_that_does_not_fit_fails_and_the_next_that_fits_is_drawn(stage):
    weights = torch.cuda.memory_reserved()
    with at_most((weights + peak_bytes(stage, 1)) // 2):
        (failed,) = stage.run(pictures(1))
    assert isinstance(failed, StageFailed), failed.details
    assert "memory does not suffice" in str(failed)
    assert isinstance(stage.run(pictures(1))[0], Output)


def test_a_supervisor_tells_of_its_gpu_and_what_the_server_takes_of_it(tiny, tmp_path):
    with supervised(tmp_path, tiny) as server:
        status = server.until(lambda status: status.worked and status.memory_mb, timeout_s=120)
        assert status.loaded.device == f"cuda:0 {torch.cuda.get_device_name(0)}"
        assert status.gpu.uuid == Gpu("0").look().uuid
        assert 0 < status.memory_mb <= status.gpu.memory_used_mb
        assert isinstance(server.client.run(pictures(1)[0]), Output)


def test_a_server_that_takes_more_of_the_gpu_than_its_row_allows_is_replaced(tiny, tmp_path):
    with supervised(tmp_path, tiny, memory_mb=100) as server:
        status = server.until(lambda status: status.last_end, timeout_s=120)
        assert status.last_end == "takes more than memory_mb = 100: replaced"


def test_a_killed_server_leaves_nothing_on_the_gpu(tiny, tmp_path):
    with supervised(tmp_path, tiny) as server:
        first = server.until(lambda status: status.worked and status.memory_mb, timeout_s=120)
        taken = first.gpu.memory_used_mb
        server.model_process().kill()

        def at_work_again(status):
            return status.starts == 2 and status.canary_s and status.memory_mb

        assert server.until(at_work_again, timeout_s=120).gpu.memory_used_mb < taken + first.memory_mb // 2
