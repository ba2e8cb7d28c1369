"""An exported encoder with its linear maps in int8.

onnxruntime's own dynamic quantisation gives all activations of a run one scale. One outlier then
takes the digits of every other piece, and what a Doc gets depends on the Docs beside it. Here each
piece has a scale of its own (Yao et al., 2022, ZeroQuant, section 3.1) and each output channel of
a weight one. Ranges measured on text move outlier channels into the weights besides, and spare
the products with a wide output the pass that applies the scales of the pieces.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors
from ..util import atomic_file
from .fused import has_vnni
from .onnx import OnnxRunner, first_line, open_session, require
from .onnx_graph import DOMAIN
from .quantize import ZERO, BlockRanges

# What these give is no lower than minus this, so that all 8 bits can serve the positive side.
_FLOORS = {"BiasGelu": 0.1701, "FastGelu": 0.1701, "Relu": 0.0}
# Parts with a wide output, whose steps are fixed by the ranges; and all that have ranges.
_WIDE, _MEASURED = ("qkv", "up"), ("qkv", "out", "up")
# Of a row of zeros.
_LEAST = 1e-12

Floats = NDArray[np.float32]


def quantize_onnx(source: Path, target: Path, ranges: Sequence[BlockRanges] | None = None) -> None:
    """Write an exported model anew, with int8 weights and activations in its matrix products.

    source (Path): A file of `export_onnx`.
    target (Path): The file to write.
    ranges (Sequence[BlockRanges] | None): Measured on the same encoder, one a layer; better with.
        Only a model of a family that `blocks` knows uses them.
    RAISES (ImportError): B120 if onnx or onnxruntime is not installed.
        (ValueError): B122 if the source cannot be read, B123 if no product in it has a weight,
        B124 if the ranges are of another encoder.
    """
    require("onnxruntime")
    model = _load(source)
    rewriter = _Rewriter(model.graph, ranges)
    rewriter.rewrite()
    if not rewriter.weights:
        raise ValueError(Errors.B123.format(name=source))
    if DOMAIN not in {item.domain for item in model.opset_import}:
        model.opset_import.append(require("onnx.helper").make_opsetid(DOMAIN, 1))
    data = model.SerializeToString()
    open_session(data, 1)
    with atomic_file(target, "wb") as file_:
        file_.write(data)


def open_int8(path: Path) -> OnnxRunner:
    """Open a model of `quantize_onnx`.

    Without VNNI, products of uint8 and int8 are summed in 16 bits, which overflow. Weights then
    go in as uint8: such products are slower, and exact.

    path (Path): The file.
    RETURNS (OnnxRunner): Runs it.
    RAISES (ImportError): B120 if onnx is not installed and the processor has no VNNI.
        (ValueError): B122 if the file cannot be read.
    """
    if has_vnni():
        return OnnxRunner(path)
    model = _load(path)
    arrays = require("onnx.numpy_helper")
    signed = require("onnx").TensorProto.INT8
    for item in model.graph.initializer:
        if item.data_type == signed:
            moved = (arrays.to_array(item).astype(np.int16) + ZERO).astype(np.uint8)
            item.CopyFrom(arrays.from_array(moved, item.name))
    zero = arrays.from_array(np.asarray(np.uint8(ZERO)), "int8.weight.zero")
    model.graph.initializer.append(zero)
    for node in model.graph.node:
        if node.op_type == "MatMulIntegerToFloat":
            node.input.append(zero.name)
    return OnnxRunner(model.SerializeToString())


def _load(path: Path) -> Any:
    onnx = require("onnx")
    try:
        return onnx.load(str(path))
    except Exception as err:  # noqa: BLE001 - protobuf and the file system raise their own kinds
        about = {"package": "onnx", "version": onnx.__version__}
        message = Errors.B122.format(name=path, reason=first_line(err), **about)
        raise ValueError(message) from err


class _Rewriter:
    """Replaces the products of one graph.

    graph (onnx.GraphProto): The graph; it is changed.
    ranges (Sequence[BlockRanges] | None): As above.
    """

    def __init__(self, graph: Any, ranges: Sequence[BlockRanges] | None):
        self.graph = graph
        self.ranges = ranges
        self.initializers = {item.name: item for item in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.nodes: list[Any] = []
        self.added: dict[str, Any] = {}
        # By weight: names of the int8 weight, its scales, and what undoes the floor's shift.
        self.weights: dict[str, tuple[str, str, str | None]] = {}
        # By input and smoothing: names of the integers, of the rows' scales, and of their zero.
        self.inputs: dict[tuple[str, str | None], tuple[str, str | None, str]] = {}

    def rewrite(self) -> None:
        """Replace every product with a weight matrix."""
        for node in self.graph.node:
            weight = self.initializers.get(node.input[1]) if node.op_type == "MatMul" else None
            if weight is None or len(weight.dims) != 2:
                self.nodes.append(node)
            else:
                self._replace(node, weight)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [
            item for item in (*self.graph.initializer, *self.added.values()) if item.name in used
        ]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _replace(self, node: Any, weight: Any) -> None:
        smooth = self._smoothing(weight)
        producer = self.producers.get(node.input[0])
        floor = _FLOORS.get(producer.op_type) if producer is not None and smooth is None else None
        if weight.name not in self.weights:
            self.weights[weight.name] = self._round_weight(weight, smooth, floor)
        integers, scales, back = self.weights[weight.name]
        key = (node.input[0], weight.name if smooth is not None else None)
        if key not in self.inputs:
            self.inputs[key] = self._round_input(node.input[0], weight.name, smooth, floor)
        rows, row_scale, zero = self.inputs[key]
        names = [rows, integers, self._one(), scales, zero]
        result = node.output[0]
        steps = [("MatMulIntegerToFloat", names, {"domain": DOMAIN})]
        if row_scale is not None:
            steps.append(("Mul", [f"{result}.0", row_scale], {}))
        if back is not None:
            steps.append(("Add", [f"{result}.1", back], {}))
        for i, (kind, inputs, extra) in enumerate(steps):
            last = i == len(steps) - 1
            self._add(kind, inputs, result if last else f"{result}.{i}", **extra)

    def _smoothing(self, weight: Any) -> Floats | None:
        """Return what each channel of a product's input is divided by."""
        place, _, part = weight.name.removeprefix("blocks.").partition(".")
        if self.ranges is None or not place.isdigit() or part not in _MEASURED:
            return None
        width = weight.dims[0]
        steps = None
        if int(place) < len(self.ranges):
            steps = getattr(self.ranges[int(place)], part).float().cpu().numpy()
        if steps is None or steps.shape != (width,) or not (np.isfinite(steps) & (steps > 0)).all():
            raise ValueError(Errors.B124.format(layer=weight.name, width=width))
        # Where each row has its scale, it makes up for any common factor.
        return steps if part in _WIDE else steps / np.float32(steps.mean())

    def _round_weight(
        self, item: Any, smooth: Floats | None, floor: float | None
    ) -> tuple[str, str, str | None]:
        weight = require("onnx.numpy_helper").to_array(item).astype(np.float32)
        if smooth is not None:
            weight = weight * smooth[:, None]
        scales = np.maximum(np.abs(weight).max(0) / 127, _LEAST).astype(np.float32)
        rounded = np.rint(weight / scales).astype(np.int8)
        integers = self._constant(f"{item.name}.int8", rounded)
        scale = self._constant(f"{item.name}.scale", scales)
        if not floor:
            return integers, scale, None
        back = -np.float32(floor) * rounded.sum(0, dtype=np.int64) * scales
        return integers, scale, self._constant(f"{item.name}.back", back.astype(np.float32))

    def _round_input(
        self, name: str, weight: str, smooth: Floats | None, floor: float | None
    ) -> tuple[str, str | None, str]:
        stem, moved = f"{name}.int8.{weight}", name
        if smooth is not None:
            moved = f"{stem}.smooth"
            factor = self._constant(f"{weight}.smooth", 1 / smooth)
            self._add("Mul", [name, factor], moved)
            if weight.endswith(_WIDE):
                return self._to_integers(moved, f"{stem}.rows", ZERO, None)
        elif floor:
            moved = f"{stem}.raised"
            self._add("Add", [name, self._constant("int8.floor", np.float32(floor))], moved)
        size, steps, zero = moved, 255, 0
        if floor is None:
            size, steps, zero = f"{stem}.size", 127, ZERO
            self._add("Abs", [moved], size)
        self._add("ReduceMax", [size], f"{stem}.most", axes=[-1], keepdims=1)
        step = self._constant(f"int8.step{steps}", np.float32(1 / steps))
        self._add("Mul", [f"{stem}.most", step], f"{stem}.share")
        least = self._constant("int8.least", np.float32(_LEAST))
        self._add("Max", [f"{stem}.share", least], f"{stem}.scale")
        self._add("Div", [moved, f"{stem}.scale"], f"{stem}.scaled")
        return self._to_integers(f"{stem}.scaled", f"{stem}.rows", zero, f"{stem}.scale")

    def _to_integers(
        self, name: str, output: str, zero: int, scale: str | None
    ) -> tuple[str, str | None, str]:
        middle = self._constant(f"int8.zero{zero}", np.uint8(zero))
        self._add("QuantizeLinear", [name, self._one(), middle], output)
        return output, scale, middle

    def _one(self) -> str:
        return self._constant("int8.one", np.float32(1))

    def _add(self, kind: str, inputs: list[str], output: str, **extra: Any) -> None:
        make = require("onnx.helper").make_node
        self.nodes.append(make(kind, inputs, [output], name=output, **extra))

    def _constant(self, name: str, value: Any) -> str:
        if name not in self.added:
            self.added[name] = require("onnx.numpy_helper").from_array(np.asarray(value), name)
        return name
