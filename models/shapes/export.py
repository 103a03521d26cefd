"""Write a training's averaged weights as the ONNX file that the stage `generate` loads.

Refuses to leave a file behind whose answers differ from torch's by more than 1e-4.
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from models.shapes.data import MAX_TOKENS, SIDE, WORDS
from models.shapes.network import Network
from models.shapes.train import CHECKPOINT

CANDIDATE = Path(__file__).with_name("candidate.onnx")
LARGEST_DIFFERENCE = 1e-4
_LARGEST_BATCH = 64
_SEED = 1


def load(state: dict[str, Any]) -> Network:
    """The averaged network of a checkpoint."""
    network = Network(len(WORDS), MAX_TOKENS)
    network.load_state_dict(state["average"])
    return network.eval()


def export(network: Network, path: Path) -> float:
    """Write `network` to `path`; the largest difference between onnxruntime's answer and torch's.

    Raises:
        SystemExit: they differ by more than 1e-4; the file is gone again.
    """
    torch.backends.mha.set_fastpath_enabled(False)  # the fused layer has no counterpart in ONNX
    batch = torch.export.Dim("b", min=1, max=_LARGEST_BATCH)
    torch.onnx.export(
        network,
        _inputs(2),
        str(path),
        input_names=["x", "t", "ids"],
        output_names=["v"],
        dynamic_shapes=({0: batch},) * 3,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    difference = max(_difference(network, path, rows) for rows in (1, 2, 5))
    if difference > LARGEST_DIFFERENCE:
        path.unlink()
        raise SystemExit(f"onnxruntime and torch differ by {difference:.1e}: {path} is not written")
    return difference


def main() -> None:
    """Export, compare, print the hash."""
    parser = argparse.ArgumentParser(
        prog="python -m models.shapes.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Measure it next: python -m models.shapes.evaluate --weights models/shapes/candidate.onnx",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        default=CHECKPOINT,
        help="what `train` wrote (models/shapes/checkpoint.pt)",
    )
    parser.add_argument("--out", type=Path, default=CANDIDATE, help="the file (models/shapes/candidate.onnx)")
    arguments = parser.parse_args()
    state = torch.load(arguments.checkpoint, weights_only=True)
    difference = export(load(state), arguments.out)
    print(f"step {state['step']}, largest difference to torch {difference:.1e}")
    print(hashlib.sha256(arguments.out.read_bytes()).hexdigest(), arguments.out)


def _inputs(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(_SEED)
    x = torch.randn(rows, 3, SIDE, SIDE, generator=random)
    ids = torch.randint(len(WORDS), (rows, MAX_TOKENS), generator=random)
    return x, torch.rand(rows, generator=random), ids


def _difference(network: Network, path: Path, rows: int) -> float:
    inputs = _inputs(rows)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in zip(("x", "t", "ids"), inputs, strict=True)}
    with torch.no_grad():
        expected = network(*inputs).numpy()
    return float(np.abs(session.run(None, feed)[0] - expected).max())


if __name__ == "__main__":
    main()
