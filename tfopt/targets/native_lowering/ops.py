"""The integer ops of stock TensorFlow, those forms of them that tests have executed against float.

All are oneDNN's, so that they need an x86 processor and a TensorFlow built with it. A quantized tensor is three values
there: levels, and the real numbers of the lowest and highest one. A tensor whose grid has a zero point lies `offset`
above what the model means, so that its lowest level is 0.

Source: tensorflow/core/kernels/mkl/mkl_conv_ops.cc, mkl_quantized_matmul_op (order of inputs), and by experiment: a sum
must have an unsigned summand and a Relu, or it is refused or wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.fused import Fused
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.grid import Grid
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import SCALAR, DType, TensorType

_END: Final = TensorType(DType.FLOAT32, SCALAR)
_FLOAT: Final = DType.FLOAT32
#: Doubled, such weights are even numbers of 8 bits.
_HALVED_BITS: Final = 7


@dataclass(frozen=True, slots=True)
class Levels:
    """A quantized tensor: its levels, its ends, and the grid that it lies on."""

    value: Value
    low: Value
    high: Value
    grid: Grid

    @property
    def dtype(self) -> DType:
        return DType.QINT8 if self.grid.signed else DType.QUINT8


def offset(grid: Grid) -> float:
    """How far above the model's numbers the levels times the scale lie."""
    return grid.scale * grid.zero_point


def carries(grid: Grid | None) -> TypeGuard[Grid]:
    """Can TensorFlow's integer ops take activations on this grid?"""
    return grid is not None and grid.bits == 8 and not grid.axes and (grid.narrow or not grid.signed)


def quantized(editor: Editor, value: Value, type_: TensorType, grid: Grid) -> Levels:
    """Put what rounds a float value to the grid behind it."""
    low, high = _ends(editor, value.node, grid)
    shifted = value
    if grid.zero_point:
        shift = editor.constant(f"{value.node}/offset", np.float32(offset(grid)))
        shifted = editor.add("AddV2", f"{value.node}/shifted", [value, shift], [type_], {"T": _FLOAT}).value()
    dtype = DType.QINT8 if grid.signed else DType.QUINT8
    attrs: Mapping[str, AttrValue] = {
        "T": dtype,
        "mode": b"SCALED",
        "round_mode": b"HALF_TO_EVEN",
        "narrow_range": grid.narrow,
        "axis": -1,
        "ensure_minimum_range": 0.0,
    }
    outputs = [TensorType(dtype, type_.shape), _END, _END]
    made = editor.add("QuantizeV2", f"{value.node}/quantize", [shifted, low, high], outputs, attrs)
    return Levels(made.value(), low, high, grid)


def dequantized(editor: Editor, levels: Levels, type_: TensorType, name: str) -> Value:
    """Put what gives the float value back behind it.

    By the kernel that is not oneDNN's, which ends the process when there are no examples. It is as fast, and takes the
    offset off by the way: the real numbers are those from its lowest level's on.
    """
    grid = levels.grid
    lowest = (-128 if grid.signed else -grid.zero_point) * grid.scale
    ends = np.float32(lowest), np.float32(lowest + 255 * grid.scale)
    low, high = (editor.shared_scalar(f"{name}/{end}", at) for end, at in zip(("low", "high"), ends, strict=True))
    attrs: Mapping[str, AttrValue] = {
        "T": levels.dtype,
        "mode": b"MIN_FIRST",
        "narrow_range": False,
        "axis": -1,
        "dtype": _FLOAT,
    }
    return editor.add("Dequantize", f"{name}/dequantize", [levels.value, low, high], [type_], attrs).value()


def convolution(editor: Editor, graph: Graph, fused: Fused, data: Levels, grid: Grid, summand: Levels | None) -> Levels:
    """A Conv2D or DepthwiseConv2dNative with bias, sum and activation, rounded to `grid` once."""
    node, weight = fused.layer.node, graph.grids[fused.layer.weight_value]
    bias = _bias(fused, data.grid, summand.grid if summand else None, grid)
    # Without VNNI, oneDNN halves the weights of what reads signed numbers: those of 7 bits are doubled for it.
    times = 2 if data.grid.signed and weight.bits <= _HALVED_BITS else 1
    device = [data.value, _filter(editor, fused, weight, times), editor.constant(f"{node.name}/bias", bias)]
    host = [data.low, data.high, *_filter_ends(editor, fused, weight, times)]
    if summand is not None:
        device.append(summand.value)
        host += [summand.low, summand.high]
    low, high = _ends(editor, node.name, grid)
    dtype = DType.QINT8 if grid.signed else DType.QUINT8
    stages = [b"BiasAdd", *([b"Sum", b"Relu"] if summand else _relu(fused, grid))]
    attrs: Mapping[str, AttrValue] = {
        **_types(device_in=[data.dtype, DType.QINT8, _FLOAT, *([summand.dtype] if summand else [])], out=dtype),
        "Thost_inputs": (_FLOAT,) * (len(host) + 2),
        "Tinput": data.dtype,
        "Tfilter": DType.QINT8,
        "Tbias": _FLOAT,
        "Tsummand": summand.dtype if summand else dtype,
        "out_type": dtype,
        "data_format": b"NHWC",
        "strides": node.attrs["strides"],
        "dilations": node.attrs.get("dilations", (1, 1, 1, 1)),
        "padding": node.attrs["padding"],
        "explicit_paddings": node.attrs.get("explicit_paddings", ()),
        "is_filter_const": True,
        "is_bias_const": True,
        "fused_ops": (*stages, b"Requantize"),
        "alpha": 0.0,
    }
    op = "_FusedQuantizedDepthwiseConv2D" if node.op == "DepthwiseConv2dNative" else "_FusedQuantizedConv2D"
    outputs = [TensorType(dtype, graph.type_of(fused.output).shape), _END, _END]
    made = editor.add(op, f"{node.name}/int8", [*device, *host, low, high], outputs, attrs)
    return Levels(made.value(), low, high, grid)


def product(editor: Editor, graph: Graph, fused: Fused, data: Levels, grid: Grid | None) -> Levels | Value:
    """A MatMul with bias and activation: rounded to `grid`, or as float numbers where there is none."""
    node, weight = fused.layer.node, graph.grids[fused.layer.weight_value]
    bias = _bias(fused, data.grid, None, grid)
    device = [data.value, _filter(editor, fused, weight), editor.constant(f"{node.name}/bias", bias)]
    host = [data.low, data.high, *_filter_ends(editor, fused, weight)]
    dtype = _FLOAT if grid is None else DType.QINT8 if grid.signed else DType.QUINT8
    ends = [] if grid is None else [*_ends(editor, node.name, grid)]
    attrs: Mapping[str, AttrValue] = {
        **_types(device_in=[data.dtype, DType.QINT8, _FLOAT], out=dtype, host=grid is not None),
        "Thost_inputs": (_FLOAT,) * (len(host) + len(ends)),
        "T1": data.dtype,
        "T2": DType.QINT8,
        "Tbias": _FLOAT,
        "U": _FLOAT,
        "Tout": dtype,
        "transpose_a": False,
        "transpose_b": bool(node.attrs.get("transpose_b")),
        "is_weight_const": True,
        "is_bias_const": True,
        "fused_ops": (b"BiasAdd", *_relu(fused, grid), b"Dequantize" if grid is None else b"Requantize"),
        "input_quant_mode": b"SCALED",
        "output_quant_mode": b"SCALED",
        "leakyrelu_alpha": 0.2,
    }
    shape = graph.type_of(fused.output).shape
    outputs = [TensorType(dtype, shape), *([_END, _END] if ends else [])]
    made = editor.add("_QuantizedMatMul", f"{node.name}/int8", [*device, *host, *ends], outputs, attrs).value()
    return made if grid is None else Levels(made, ends[0], ends[1], grid)


def pooled(editor: Editor, node: Node, data: Levels) -> Levels:
    """A MaxPool of levels, or an AvgPool that picks some of them."""
    attrs: Mapping[str, AttrValue] = {
        "T": data.dtype,
        "ksize": node.attrs["ksize"],
        "strides": node.attrs["strides"],
        "padding": node.attrs["padding"],
    }
    outputs = [TensorType(data.dtype, node.outputs[0].shape), _END, _END]
    made = editor.add(f"Quantized{node.op}", f"{node.name}/int8", [data.value, data.low, data.high], outputs, attrs)
    return Levels(made.value(), data.low, data.high, data.grid)


def padded(editor: Editor, node: Node, data: Levels) -> Levels:
    """A Pad of levels of which 0 is the number 0. As plain bytes, of which TensorFlow moves many at once; of quantized
    ones it moves one at a time."""
    plain = DType.INT8 if data.grid.signed else DType.UINT8
    before, after = editor.graph.type_of(node.inputs[0]).shape, node.outputs[0].shape
    seen = {"T": data.dtype, "type": plain}
    bytes_ = editor.add("Bitcast", f"{node.name}/bytes", [data.value], [TensorType(plain, before)], seen).value()
    attrs: Mapping[str, AttrValue] = {"T": plain, "Tpaddings": node.attrs["Tpaddings"]}
    made = editor.add("Pad", f"{node.name}/int8", [bytes_, node.inputs[1]], [TensorType(plain, after)], attrs).value()
    back = {"T": plain, "type": data.dtype}
    levels = editor.add("Bitcast", f"{node.name}/levels", [made], [TensorType(data.dtype, after)], back).value()
    return Levels(levels, data.low, data.high, data.grid)


def reshaped(editor: Editor, node: Node, data: Levels) -> Levels:
    """A Reshape of levels, which moves nothing."""
    attrs: Mapping[str, AttrValue] = {"T": data.dtype, "Tshape": node.attrs["Tshape"]}
    outputs = [TensorType(data.dtype, node.outputs[0].shape)]
    made = editor.add("Reshape", f"{node.name}/int8", [data.value, node.inputs[1]], outputs, attrs)
    return Levels(made.value(), data.low, data.high, data.grid)


def joined(editor: Editor, node: Node, parts: list[Levels]) -> Levels:
    """A ConcatV2 of levels that share a grid. QuantizedConcatV2 has no kernel where oneDNN is turned off."""
    first = parts[0]
    attrs: Mapping[str, AttrValue] = {"N": len(parts), "T": first.dtype, "Tidx": node.attrs["Tidx"]}
    inputs = [*(part.value for part in parts), node.inputs[-1]]
    outputs = [TensorType(first.dtype, node.outputs[0].shape)]
    made = editor.add("ConcatV2", f"{node.name}/int8", inputs, outputs, attrs)
    return Levels(made.value(), first.low, first.high, first.grid)


def _types(device_in: list[DType], out: DType, host: bool = True) -> Mapping[str, AttrValue]:
    return {
        "Tdevice_inputs": tuple(device_in),
        "Tdevice_outputs": (out,),
        "Thost_outputs": (_FLOAT, _FLOAT) if host else (),
    }


def _relu(fused: Fused, grid: Grid | None) -> list[bytes]:
    """Rounding to bytes ends at 0 by itself, and one step less for each number is felt where layers are narrow."""
    ends_by_rounding = grid is not None and not grid.signed
    return [b"Relu"] if fused.activation and not ends_by_rounding else []


def _ends(editor: Editor, name: str, grid: Grid) -> tuple[Value, Value]:
    """What TensorFlow divides by 127 or 255 to get the scale."""
    largest = np.float32(grid.scale * grid.highest)
    low = np.float32(-largest if grid.signed else 0.0)
    return editor.shared_scalar(f"{name}/min", low), editor.shared_scalar(f"{name}/max", largest)


def _filter(editor: Editor, fused: Fused, grid: Grid, times: int = 1) -> Value:
    levels = (grid.levels(fused.layer.weight.array) * times).astype(np.int8)
    return editor.constant(f"{fused.layer.node.name}/weight", levels, DType.QINT8)


def _filter_ends(editor: Editor, fused: Fused, grid: Grid, times: int = 1) -> tuple[Value, Value]:
    """Of eight bits also where the levels are of seven: TensorFlow divides by 127."""
    name = fused.layer.node.name
    ends = np.broadcast_to(np.array(grid.scales, np.float64) * 127 / times, (fused.layer.channels,)).astype(np.float32)
    return editor.constant(f"{name}/weight_min", -ends), editor.constant(f"{name}/weight_max", ends)


def _bias(fused: Fused, data: Grid, summand: Grid | None, out: Grid | None) -> NDArray[Any]:
    """The bias that takes the offsets of what is read out of the sum, and puts that of the result in."""
    layer = fused.layer
    bias = np.zeros(layer.channels) if fused.bias is None else np.array(fused.bias, np.float64)
    if data.zero_point:
        bias = bias - layer.response(np.full(layer.in_channels, offset(data)))
    if summand is not None:
        bias = bias - offset(summand)
    if out is not None:
        bias = bias + offset(out)
    return np.asarray(bias).astype(np.float32)
