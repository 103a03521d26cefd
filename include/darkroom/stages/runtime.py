"""The one place where weights are checked and an inference session is opened."""

import hashlib
from pathlib import Path

import onnxruntime as ort

from darkroom.errors import WrongWeights
from darkroom.settings import settings


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


def open_session(path: Path) -> ort.InferenceSession:
    """An inference session on the CPU with `DARKROOM_THREADS` threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings().threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
