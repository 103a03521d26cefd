"""The one place where weights are checked and an inference session is opened."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import onnxruntime as ort

from darkroom.errors import WrongWeights
from darkroom.settings import settings

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Searching the fastest convolution anew for every shape of a tile costs more than it gains.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}

log = logging.getLogger(__name__)


def find_weights(model: str) -> Path:
    """The file of `model`, such as `shapes-flow-64@f289156f`: a name and the start of its SHA-256.

    The model's name is part of every picture's key, so other weights under the same name would fill
    the store with pictures that nobody can tell apart.

    Raises:
        WrongWeights: the file is missing, or its hash is not the one in the name.
    """
    name, _, expected = model.partition("@")
    path = settings().models / f"{name}.onnx"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WrongWeights(f"can't read {path}: {error}") from error
    if not expected or not found.startswith(expected):
        raise WrongWeights(f"{path} has SHA-256 {found}, the stage table says {expected or 'nothing'}")
    return path


def providers() -> list[str]:
    """What inference runs on, best first: CUDA where this onnxruntime has it and a GPU is left to us.

    An empty `CUDA_VISIBLE_DEVICES`, or -1, leaves none; a number makes that GPU the only one, `cuda:0`.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    if hidden or CUDA not in ort.get_available_providers():
        return [CPU]
    # CUDA's libraries come as wheels too, where no linker looks.
    ort.preload_dlls()
    return [CUDA, CPU]


def open_session(path: Path) -> ort.InferenceSession:
    """An inference session on the GPU or the CPU, there with `DARKROOM_THREADS` threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings().threads
    options.inter_op_num_threads = 1
    chosen = [(name, _CUDA_OPTIONS) if name == CUDA else name for name in providers()]
    return ort.InferenceSession(str(path), options, providers=chosen)


def device_of(session: Any) -> str:
    """Where a session computes: `cuda:0` or `cpu`; says in the log when the GPU could not be used."""
    if CUDA in session.get_providers():
        return "cuda:0"
    if CUDA in providers():
        log.warning("onnxruntime can't use the GPU (its reason stands above); computing on the CPU")
    return "cpu"
