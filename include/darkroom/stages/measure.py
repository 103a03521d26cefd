"""How long a stage takes per batch, and how much memory."""

import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pynvml  # type: ignore[import-untyped]

from darkroom.errors import ItemError
from darkroom.stages.base import Request, StageModel
from darkroom.stages.contract import Broken, ask, user_traceback
from darkroom.stages.report import Speed

LEAST_BATCHES = 2
_SIGN_EVERY_S = 0.2
_MB = 1 << 20


def measure(
    model: StageModel, request: Request, batch_size: int, seconds: float, alive: Callable[[float], None]
) -> Speed:
    """Batches of `batch_size` for `seconds`, after one that does not count.

    Args:
        model: loaded.
        request: what the items are copies of, each with a seed of its own.
        batch_size: items in one call of `run`.
        seconds: for how long; the last batch is finished, and there are at least two.
        alive: called with the share that is done, some times a second where batches are short.

    Raises:
        Broken: it raised, refused an item, or answered as no stage may.
    """
    reset_peak()
    took: list[float] = []
    alive(0)
    told = begun = time.monotonic()
    for number in range(-1, sys.maxsize):
        first = max(number, 0) * batch_size
        batch = [replace(request, custom_id=f"item-{n}", seed=n) for n in range(first, first + batch_size)]
        started = time.perf_counter()
        answers = ask(model, batch)
        if number >= 0:  # not the first of its shape: runtimes plan and allocate for it
            took.append(time.perf_counter() - started)
        if refused := [answer for answer in answers if isinstance(answer, ItemError)]:
            what = f"run() refused an item: {type(refused[0]).__name__}: {refused[0]}"
            todo = "look at the item, or at run(): nothing can be measured with it"
            raise Broken(what, todo, user_traceback(refused[0].__cause__))
        spent = time.monotonic() - begun
        if len(took) >= LEAST_BATCHES and spent >= seconds:
            break
        if time.monotonic() - told > _SIGN_EVERY_S:
            told = time.monotonic()
            alive(min(spent / seconds, 1) if seconds else 1)
    return Speed(
        batch_size=batch_size,
        p50_s=statistics.median(took),
        p95_s=sorted(took)[math.ceil(0.95 * len(took)) - 1],
        items_per_s=batch_size * len(took) / sum(took),
        ram_mb=peak_ram_mb(),
        gpu_mb=gpu_mb(),
    )


def ram_mb() -> int:
    """Resident memory of this process and its children now."""
    return (psutil.Process().memory_info().rss + _children_bytes()) // _MB


def reset_peak() -> None:
    """Forget the highest resident memory so far, where the kernel allows it."""
    # Source: proc_pid_clear_refs(5): 5 resets VmHWM.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_ram_mb() -> int:
    """The highest resident memory of this process since `reset_peak`, and that of its children now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024 + _children_bytes() // _MB
    return ram_mb()


def gpu_mb() -> int | None:
    """Memory that this process and its children hold on all GPUs; None: it uses none.

    As the driver counts; where it does not name processes (in some containers), as torch counts its own.
    """
    found = [mb for mb in (_driver_mb(), _torch_mb()) if mb]
    return max(found) if found else None


def _driver_mb() -> int:
    pids = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        running = [one for gpu in handles for one in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)]
    except pynvml.NVMLError:
        return 0
    return sum(one.usedGpuMemory or 0 for one in running if one.pid in pids) // _MB


def _torch_mb() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(sum(torch.cuda.max_memory_reserved(gpu) for gpu in range(torch.cuda.device_count()))) // _MB


def _children_bytes() -> int:
    total = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += int(child.memory_info().rss)
    return total
