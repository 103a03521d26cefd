"""Pictures per second of the shapes model through its server, by batch size, beside the bare loop.

`python -m bench.batching`. Per batch size one server and as many clients at once as its two lanes keep in
flight; the bare loop is a process of its own that does nothing but `Generate().run(batch)`. Whoever computes
is pinned to one core, everybody else (mosec's front, the clients) to the other. The two take turns, in short
rounds; the ratio is the median over pairs of rounds.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress

from bench.prompts import request
from bench.report import save
from bench.servers import serving
from darkroom.flows import STAGES
from darkroom.serving.client import StageClient

BATCH_SIZES = (1, 4, 8, 16)
LANES = STAGES["generate"].lanes_per_server
PICTURES = 16
"""Per round and way: some two seconds. A multiple of all batch sizes, so that each batch is full."""
PAIRS = 6
MODEL_CORE, OTHER_CORE = sorted(os.sched_getaffinity(0))[:2]


def main() -> None:
    """Measure each batch size."""
    figures: dict[str, Any] = {}
    pin(os.getpid(), OTHER_CORE)
    with Progress(console=Console(stderr=True)) as progress, _bare_loop() as bare:
        doing = progress.add_task("", total=len(BATCH_SIZES) * PAIRS)
        for size in BATCH_SIZES:
            progress.update(doing, description=f"batch size {size}")
            row = json.dumps({"generate": {"batch_size": size}})
            with serving("darkroom.serving.server", "--stage=generate", DARKROOM_STAGES=row) as server:
                _pin_server(server.pid)
                pairs = []
                for _ in progress.track(range(PAIRS), task_id=doing):
                    alone = bare(size)
                    pairs.append((_through(server.url, size), alone))
            figures[str(size)] = {
                "server": round(statistics.median(ours for ours, _ in pairs), 2),
                "bare loop": round(statistics.median(alone for _, alone in pairs), 2),
                "ratio": round(statistics.median(ours / alone for ours, alone in pairs), 3),
                "ratios": [round(ours / alone, 3) for ours, alone in pairs],
            }
    save("batching", {"unit": "pictures per second, by batch size", "batch size": figures})


def pin(pid: int, core: int) -> None:
    """Bind all threads of a process to a core."""
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {core})


def _pin_server(pid: int) -> None:
    """The process that holds the model, which is the largest, to its core; all others to the other one."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    worker = max(family, key=lambda process: process.memory_info().rss)
    for process in family:
        pin(process.pid, MODEL_CORE if process is worker else OTHER_CORE)


@contextmanager
def _bare_loop() -> Iterator[Callable[[int], float]]:
    """A function from a batch size to pictures per second."""
    command = [sys.executable, "-m", "bench.bare_loop"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    process.stdout.readline()
    pin(process.pid, MODEL_CORE)

    def ask(size: int) -> float:
        print(size, PICTURES // size, file=process.stdin, flush=True)
        return PICTURES / float(process.stdout.readline())

    try:
        yield ask
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def _through(url: str, size: int) -> float:
    """Pictures per second of clients that ask again as soon as they are answered.

    Counted from the first answer on: a server at work is asked for the next batch while it computes.
    """
    clients, items = LANES * size, itertools.count()
    done: list[float] = []
    with StageClient(url, STAGES["generate"].deadline_s) as client, ThreadPoolExecutor(clients) as threads:

        def ask(_: int) -> None:
            while (n := next(items)) < PICTURES + size:
                client.run(request(n))
                done.append(time.perf_counter())

        list(threads.map(ask, range(clients)))
    done.sort()
    return (len(done) - size) / (done[-1] - done[size - 1])


if __name__ == "__main__":
    main()
