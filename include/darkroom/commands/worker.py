"""`darkroom worker`: this machine's GPUs work for a plant."""

import os
from pathlib import Path
from typing import Annotated

import typer
from dotenv import dotenv_values
from rich.console import Console
from rich.markup import escape

from darkroom.commands.stack import end_like_ctrl_c
from darkroom.errors import BadRequest
from darkroom.settings import settings
from darkroom.stack.devices import find_devices
from darkroom.stack.display import Display
from darkroom.stack.gpu_host import GpuHost, find_stages
from darkroom.stack.join import Join

console = Console(stderr=True)


def worker(
    stage: Annotated[str, typer.Option(help="A stage, or several that share each GPU: generate,inspect.")],
    gpu: Annotated[
        list[str] | None, typer.Option(help="A GPU by index or UUID; again for more. Without: the CPU.")
    ] = None,
    plant: Annotated[
        Path | None, typer.Option(help="What `darkroom env --for-worker` wrote; default: the plant here.")
    ] = None,
) -> None:
    """Work for a plant: per GPU a model server and a Celery worker with its lanes, supervised together.

    A server is pinned to its GPU. One that dies, hangs or grows beyond its memory is started anew; what each
    is doing stands in .darkroom/workers/<worker>/run/servers/<server>.json. Ctrl-C and SIGTERM drain: running
    chunks end at an item boundary and are done elsewhere. A machine without a GPU computes on its CPU.

    For example:

      darkroom worker --stage generate --gpu 0 --gpu 1

      darkroom worker --stage generate,inspect --gpu 0       (both on one GPU, if they fit)

      darkroom worker --plant worker.env --stage inspect     (on another machine than the plant's)
    """
    end_like_ctrl_c()
    if plant is not None:
        _read(plant)
    devices, notes = find_devices(gpu or [])
    host = GpuHost(find_stages(stage), devices)
    host.check_memory()
    for note in notes:
        console.print("[yellow]note:[/]", escape(note), soft_wrap=True)
    with Display() as display:
        host.run(Join.find(), display)


def _read(path: Path) -> None:
    """Take the way to the plant from a file, over what the environment says."""
    if not path.is_file():
        raise BadRequest(f"--plant: there is no file {path}")
    os.environ |= {key: value for key, value in dotenv_values(path).items() if value}
    settings.cache_clear()
