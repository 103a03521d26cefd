"""The devices that a machine has for models: its GPUs, or the CPU where it has none."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from darkroom.errors import BadRequest
from darkroom.serving.gpu import Gpu, gpu_count
from darkroom.settings import settings

_GPU = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


@dataclass(frozen=True, slots=True)
class Device:
    """Where servers compute."""

    label: str
    """`gpu0`, `cpu0`: part of the names of its servers."""
    gpu: str | None
    """Its index or UUID; None for a CPU."""
    memory_mb: int
    """What servers may take of it together."""


def find_devices(asked: Iterable[str]) -> tuple[list[Device], list[str]]:
    """The devices to use, and what to tell the user of them.

    A machine without any GPU computes on its CPU, with as many servers as GPUs were named.

    Raises:
        BadRequest: there are GPUs, but not this one, or one is named twice.
    """
    gpus = list(asked)
    count = gpu_count()
    if gpus and count:
        devices = [_gpu(gpu) for gpu in gpus]
        labels = [device.label for device in devices]
        if len(set(labels)) < len(labels):
            raise BadRequest(f"--gpu: {max(labels, key=labels.count)} is given twice")
        return devices, []
    if odd := [gpu for gpu in gpus if not _GPU.fullmatch(gpu)]:
        raise BadRequest(f"--gpu {odd[0]!r}: an index such as 0, or a UUID such as GPU-8a56a4bc-...")
    if len(set(gpus)) < len(gpus):
        raise BadRequest(f"--gpu: gpu{max(gpus, key=gpus.count)} is given twice")
    notes = []
    if gpus:
        notes = [f"no GPU here: the CPU computes instead of --gpu {', '.join(gpus)}"]
    elif count:
        notes = [f"none of the {count} GPUs of this machine is named by --gpu, so the CPU computes"]
    number = max(1, len(gpus))
    memory_mb = settings().device_memory_mb or int(psutil.virtual_memory().total) // number >> 20
    return [Device(f"cpu{index}", None, memory_mb) for index in range(number)], notes


def _gpu(name: str) -> Device:
    try:
        gpu = Gpu(name)
    except ValueError as error:
        raise BadRequest(f"--gpu: {error}") from error
    # The same label whether it was named by index or by UUID.
    return Device(f"gpu{gpu.index}", name, settings().device_memory_mb or gpu.memory_total_mb)
