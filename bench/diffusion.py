"""Pictures per second of a diffusion pipeline: through a served stage, and in a bare loop beside it.

On a GPU machine, in the environment of `make install-gpu`:

    PYTHONPATH=include:. .venv-gpu/bin/python -m bench.diffusion

builds a pipeline of SDXL's shapes with random weights (nothing is downloaded; the time is the same as with
trained ones), then, for each batch size, starts a real model server, sends it pictures from as many threads
as keep it busy, and ends it; then draws the same in a loop of `pipe(...)` without server or client.

    ... -m bench.diffusion --pipeline /models/sdxl --steps 30     your own pipeline
    ... -m bench.diffusion --compile --batch 4                    the served network compiled
    ... -m bench.diffusion --tiny                                 a tiny pipeline, on a CPU in two minutes

The figures go to bench/results/diffusion-<device>.json. Beside the speed: how far the picture of a seed is in
a batch from what it is alone. Cold start: from the start of the process to the
first answered canary. Memory: on a GPU by how much more the driver says is used than before the start, else
resident memory.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.report import save
from darkroom.serving.client import StageClient
from darkroom.stages.base import Request

DEADLINE_S = 1200
_MB = 1 << 20
_PROMPT = "a photograph of a lighthouse in a storm, number {}"

STAGE = """
[stages.generate]
implementation = "darkroom.stages.diffusion:Diffusion"
options = "darkroom.stages.options:DiffusionOptions"
model = "measured"
memory_mb = 1000000
batch_size = {batch}
deadline_s = {deadline}
load_s = {deadline}

[stages.generate.config]
pipeline = {pipeline}
dtype = "{dtype}"
side = {side}
compile = {compile}
"""


def main() -> None:
    """Build, measure served and bare, write the figures down."""
    arguments = _parse()
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name, Progress(*columns) as progress:
        progress.console.print(f"measuring {len(arguments.batch)} batch sizes: {arguments.batch}")
        folder = arguments.pipeline or str(Path(name) / "pipeline")
        if not arguments.pipeline:
            task = progress.add_task("building the pipeline", total=1)
            _alone(_build, folder, arguments.tiny)
            progress.advance(task)
        served = {}
        for batch in arguments.batch:
            task = progress.add_task(f"served, batch {batch}", total=_pictures(arguments, batch))
            served[batch] = _served(
                Path(name), folder, batch, arguments, lambda task=task: progress.advance(task)
            )
            progress.console.print(f"served, batch {batch}: {served[batch]}")
        task = progress.add_task("bare loop", total=1)
        bare = _alone(_bare, folder, arguments)
        progress.advance(task)
    _report(arguments, served, bare)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.diffusion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny pipeline: shows that this works, no more")
    parser.add_argument("--pipeline", help="a folder with a pipeline instead of random weights")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 8], help="batch sizes (1 4 8)")
    parser.add_argument("--pictures", type=int, help="per batch size (24; tiny: 320), in whole batches")
    parser.add_argument("--steps", type=int, help="sampling steps (30; tiny: 4)")
    parser.add_argument("--side", type=int, help="width and height in pixels (1024; tiny: 64)")
    parser.add_argument("--dtype", default="auto", choices=["auto", "fp16", "bf16", "fp32"])
    parser.add_argument("--compile", action="store_true", help="torch.compile in the served stage")
    arguments = parser.parse_args()
    arguments.steps = arguments.steps or (4 if arguments.tiny else 30)
    arguments.side = arguments.side or (64 if arguments.tiny else 1024)
    arguments.pictures = arguments.pictures or (320 if arguments.tiny else 24)
    return arguments


def _pictures(arguments: argparse.Namespace, batch: int) -> int:
    return -(-arguments.pictures // batch) * batch


def _alone(work: Any, *arguments: Any) -> Any:
    """The result of `work` in a process of its own, whose GPU memory ends with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _build(folder: str, tiny: bool) -> None:
    import torch

    from bench.pipelines import sdxl, tiny_sdxl

    if tiny:
        tiny_sdxl(Path(folder))
    elif torch.cuda.is_available():
        sdxl(Path(folder), "cuda:0", torch.float16)
    else:
        raise SystemExit("PyTorch sees no GPU here; --tiny works on a CPU")


def _served(
    home: Path, folder: str, batch: int, arguments: argparse.Namespace, advance: Any
) -> dict[str, Any]:
    text = STAGE.format(
        batch=batch, pipeline=json.dumps(folder), dtype=arguments.dtype, side=arguments.side,
        compile=str(arguments.compile).lower(), deadline=DEADLINE_S,
    )  # fmt: skip
    config = home / f"darkroom-{batch}.toml"
    config.write_text(text)
    before = _gpu_used_mb()
    with _server(config, home / f"server-{batch}.log") as (url, process, cold_start_s):
        options = {"steps": arguments.steps}
        requests = [
            Request(f"{n}", prompt=_PROMPT.format(n), seed=n, options=options)
            for n in range(_pictures(arguments, batch))
        ]
        with StageClient(url, DEADLINE_S) as client, ThreadPoolExecutor(2 * batch) as pool:

            def ask(request: Request) -> int:
                output = client.run(request)
                advance()
                return int(output.details["batch"])

            list(pool.map(client.run, requests[: 2 * batch]))  # this size for the first time
            begun = time.perf_counter()
            batches = list(pool.map(ask, requests))
            seconds = time.perf_counter() - begun
        memory = _gpu_used_mb() - before if before else _resident_mb(process.pid)
    return {
        "pictures": len(requests),
        "pictures_per_s": round(len(requests) / seconds, 3),
        "mean_batch": round(sum(batches) / len(batches), 2),
        "cold_start_s": round(cold_start_s, 1),
        "memory_mb": memory,
    }


@contextmanager
def _server(config: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "darkroom.serving.server", "--stage=generate", f"--port={port}"]
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, "DARKROOM_CONFIG": str(config)}, start_new_session=True,
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        with StageClient(url, DEADLINE_S) as client:
            while not client.healthy():
                if process.poll() is not None or time.monotonic() - begun > DEADLINE_S:
                    raise SystemExit(f"the server did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.1)
        yield url, process, time.monotonic() - begun
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _bare(folder: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a script of ten lines would do; the pipeline is loaded as the stage loads it."""
    import torch

    from darkroom.stages.diffusion import Diffusion

    begun = time.monotonic()
    stage = Diffusion(pipeline=folder, dtype=arguments.dtype, side=arguments.side)
    stage.load()
    loaded_s = time.monotonic() - begun
    pipe = stage._pipeline._pipe
    found: dict[str, Any] = {
        "device": stage.device, "dtype": stage._pipeline.dtype, "load_s": round(loaded_s, 1),
        "torch": torch.__version__,
    }  # fmt: skip
    alone = _pixels(_draw_bare(pipe, 1, 0, arguments))
    for batch in arguments.batch:
        first_alone = np.abs(_pixels(_draw_bare(pipe, batch, 0, arguments))[:1] - alone)
        call_s = png_s = 0.0
        print(f"bare loop, batch {batch}", flush=True)
        for first in range(0, _pictures(arguments, batch), batch):
            begun = time.perf_counter()
            images = _draw_bare(pipe, batch, first, arguments)
            called = time.perf_counter()
            for image in images:
                image.save(BytesIO(), "PNG")
            call_s += called - begun
            png_s += time.perf_counter() - called
        count = _pictures(arguments, batch)
        found[str(batch)] = {
            "pictures_per_s": round(count / (call_s + png_s), 3),
            "pictures_per_s_without_png": round(count / call_s, 3),
            "peak_gpu_mb": torch.cuda.max_memory_reserved() // _MB if torch.cuda.is_available() else None,
            "from alone, mean levels of 255": round(float(first_alone.mean()), 4),
            "from alone, largest": int(first_alone.max()),
        }
    return found


def _draw_bare(pipe: Any, batch: int, first: int, arguments: argparse.Namespace) -> Any:
    import torch

    return pipe(
        prompt=[_PROMPT.format(first + n) for n in range(batch)],
        generator=[torch.Generator("cpu").manual_seed(first + n) for n in range(batch)],
        num_inference_steps=arguments.steps,
        width=arguments.side,
        height=arguments.side,
    ).images


def _pixels(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image.convert("RGB"), np.int16) for image in images])


def _gpu_used_mb() -> int:
    """What all processes use of the first GPU; 0 without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(visible) if visible.isdigit() else 0)
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) // _MB
    except pynvml.NVMLError:
        return 0


def _resident_mb(pid: int) -> int:
    main = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [main, *main.children(recursive=True)]) // _MB


def _report(arguments: argparse.Namespace, served: dict[int, dict[str, Any]], bare: dict[str, Any]) -> None:
    device = bare.pop("device")
    kind = "tiny" if arguments.tiny else (arguments.pipeline or "SDXL's shapes, random weights")
    sizes = {
        str(batch): {
            "served": found,
            "bare": bare[str(batch)],
            "served / bare": round(found["pictures_per_s"] / bare[str(batch)]["pictures_per_s"], 3),
        }
        for batch, found in served.items()
    }
    setting = {key: value for key, value in bare.items() if not key.isdigit()}
    name = re.sub(r"[^a-z0-9]+", "-", device.removeprefix("cuda:0").strip().lower())
    kinds = "-tiny" * arguments.tiny + "-compiled" * arguments.compile
    save(f"diffusion-{name}{kinds}", {
        "pipeline": kind, "device": device, "side": arguments.side, "steps": arguments.steps,
        "compile": arguments.compile, **setting, "by batch size": sizes,
    })  # fmt: skip
    Console().print(
        "served / bare: " + ", ".join(f"batch {b}: {s['served / bare']}" for b, s in sizes.items())
    )


if __name__ == "__main__":
    main()
