"""Convolutions, matrix products, pooling and normalisation: what ONNX wants with the channels first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tfopt.ir import Node, Value
from tfopt.targets.onnx_lowering.attributes import flag, integers, number, text
from tfopt.targets.onnx_lowering.builder import Builder, Order, Rule, channels_first, refused
from tfopt.targets.onnx_lowering.levels import Stored


def _window(node: Node, name: str, first: bool, rank: int) -> list[int]:
    """The spatial part of an attribute with one number for each axis."""
    values = integers(node, name) or (1,) * rank
    return list(values[2:] if first else values[1:-1])


def _is_first(node: Node) -> bool:
    return text(node, "data_format").startswith("NC")


def _image(b: Builder, node: Node, index: int = 0) -> tuple[str, Order, bool, list[int | None]]:
    """The input with its channels first, the order that this is of TensorFlow's, whether TensorFlow has it so itself,
    and its spatial sizes."""
    rank = b.known_rank(node, index)
    first = _is_first(node)
    order = () if first else channels_first(rank)
    dims = list(b.type(node.inputs[index]).shape.dims or ())
    return b.get(node.inputs[index], order), order, first, dims[2:] if first else dims[1:-1]


def _padding(
    node: Node, sizes: Sequence[int | None], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """ONNX's pads for TensorFlow's padding; where a size is not known and matters, ONNX Runtime works them out."""
    padding = text(node, "padding")
    if padding == "VALID":
        return {}
    if padding == "EXPLICIT":
        pairs = integers(node, "explicit_paddings")
        spatial = pairs[4:] if _is_first(node) else pairs[2:-2]
        return {"pads": [*spatial[::2], *spatial[1::2]]}
    begins, ends = [], []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = (window - 1) * dilation + 1
        if size is None and stride > 1:
            return {"auto_pad": "SAME_UPPER"}
        total = reach - 1 if size is None else max((-(-size // stride) - 1) * stride + reach - size, 0)
        begins.append(total // 2)
        ends.append(total - total // 2)
    return {"pads": [*begins, *ends]} if any([*begins, *ends]) else {}


def _kernel(b: Builder, node: Node, index: int = 1) -> list[int]:
    dims = b.type(node.inputs[index]).shape.dims
    if dims is None or any(dim is None for dim in dims):
        raise refused(node, "the shape of its filter is not known")
    return [int(dim) for dim in dims if dim is not None]


def conv(b: Builder, node: Node, *bias: str) -> tuple[str, Order]:
    """Conv2D and Conv3D, with a bias or without; what they make and its order. A filter [h, w, in, out] becomes
    [out, in, h, w]."""
    x, order, first, sizes = _image(b, node)
    rank = b.known_rank(node)
    kernel = _kernel(b, node)
    dims = b.type(node.inputs[0]).shape.dims or ()
    channels = dims[1 if first else -1]
    if channels is None or channels % kernel[-2]:
        raise refused(node, "the number of its input channels is not known")
    strides, dilations = _window(node, "strides", first, rank), _window(node, "dilations", first, rank)
    weights = b.get(node.inputs[1], (rank - 1, rank - 2, *range(rank - 2)))
    found = b.emit(
        "Conv",
        x,
        weights,
        *bias,
        strides=strides,
        dilations=dilations,
        group=channels // kernel[-2],
        kernel_shape=kernel[:-2],
        **_padding(node, sizes, kernel[:-2], strides, dilations),
    )
    return found, order


def depthwise(b: Builder, node: Node, *bias: str) -> tuple[str, Order]:
    """A filter [h, w, channels, multiplier] becomes [channels * multiplier, 1, h, w]."""
    x, order, first, sizes = _image(b, node)
    height, width, channels, multiplier = _kernel(b, node)
    weights = _depthwise_filter(b, node.inputs[1], (channels * multiplier, 1, height, width))
    strides, dilations = _window(node, "strides", first, 4), _window(node, "dilations", first, 4)
    found = b.emit(
        "Conv",
        x,
        weights,
        *bias,
        strides=strides,
        dilations=dilations,
        group=channels,
        kernel_shape=[height, width],
        **_padding(node, sizes, (height, width), strides, dilations),
    )
    return found, order


def _depthwise_filter(b: Builder, value: Value, shape: tuple[int, ...]) -> str:
    constant, grid = b.graph.constant(value), b.graph.grids.get(value)
    if constant is None or not {2, 3}.issuperset(grid.axes if grid else ()):
        return b.emit("Reshape", b.get(value, (2, 3, 0, 1)), b.ints(*shape))
    if grid is None:
        return b.constant(constant.array.transpose(2, 3, 0, 1).reshape(shape), constant.array.dtype)
    levels, numbers = b.file.levels.of(constant, grid)
    name = b.constant(levels.array.transpose(2, 3, 0, 1).reshape(shape), levels.array.dtype)
    if not grid.axes:
        return b.integers(value, grid, name, None, numbers)
    sizes = [dim if axis in grid.axes else 1 for axis, dim in enumerate(constant.array.shape)]
    scales = np.broadcast_to(numbers.scales.reshape(sizes), (1, 1, *constant.array.shape[2:])).reshape(-1)
    return b.integers(value, grid, name, 0, Stored(numbers.dtype, numbers.zero, scales))


def _conv_transpose(b: Builder, node: Node) -> None:
    """Inputs: the output's shape, the filter [h, w, out, in], the image. The pads follow from the sizes, since
    several sizes of the output belong to one of the input."""
    x, order, first, sizes = _image(b, node, 2)
    kernel = _kernel(b, node)
    dims = b.type(node.value()).shape.dims or (None,) * 4
    outputs = dims[2:] if first else dims[1:-1]
    strides, dilations = _window(node, "strides", first, 4), _window(node, "dilations", first, 4)
    pads, extra = _padding(node, outputs, kernel[:-2], strides, dilations).get("pads", [0] * 4), []
    for axis, (output, size) in enumerate(zip(outputs, sizes, strict=True)):
        if output is None or size is None:
            raise refused(node, "the sizes of its image or of its result are not known")
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        extra.append(output - (size - 1) * strides[axis] - reach + pads[axis] + pads[axis + 2])
    found = b.emit(
        "ConvTranspose",
        x,
        b.get(node.inputs[1], (3, 2, 0, 1)),
        strides=strides,
        dilations=dilations,
        kernel_shape=kernel[:-2],
        pads=pads,
        output_padding=extra,
    )
    b.bind(node.value(), found, order)


def _pool(op: str, b: Builder, node: Node) -> None:
    x, order, first, sizes = _image(b, node)
    rank = b.known_rank(node)
    kernel, strides = _window(node, "ksize", first, rank), _window(node, "strides", first, rank)
    whole = (integers(node, "ksize"), integers(node, "strides"))
    if any(values[0] != 1 or values[1 if first else -1] != 1 for values in whole):
        raise refused(node, "it pools over the batch or the channels")
    pads = _padding(node, sizes, kernel, strides, (1,) * (rank - 2))
    b.bind(node.value(), b.emit(op, x, kernel_shape=kernel, strides=strides, **pads), order)


def _batch_norm(b: Builder, node: Node) -> None:
    if flag(node, "is_training", True) or any(b.graph.is_read(node.value(port)) for port in range(1, 5)):
        raise refused(node, "it normalises by the statistics of the batch, as in training")
    x, order, *_ = _image(b, node)
    names = [b.get(value) for value in node.inputs[1:]]
    b.bind(node.value(), b.emit("BatchNormalization", x, *names, epsilon=number(node, "epsilon", 1e-4)), order)


def _batch_mat_mul(b: Builder, node: Node) -> None:
    first, second = (_matrix(b, node, index, flag(node, name)) for index, name in enumerate(("adj_x", "adj_y")))
    b.bind(node.value(), b.emit("MatMul", first, second))


def gemm(b: Builder, node: Node, *bias: str) -> tuple[str, Order]:
    """MatMul of two matrices, with a bias or without."""
    first, second = (
        _matrix(b, node, index, flag(node, name)) for index, name in enumerate(("transpose_a", "transpose_b"))
    )
    return b.emit("Gemm" if bias else "MatMul", first, second, *bias), ()


def _matrix(b: Builder, node: Node, index: int, transposed: bool) -> str:
    value: Value = node.inputs[index]
    if not transposed:
        return b.get(value)
    rank = b.known_rank(node, index)
    return b.get(value, (*range(rank - 2), rank - 1, rank - 2))


def _einsum(b: Builder, node: Node) -> None:
    equation = text(node, "equation").replace(" ", "")
    letters = sorted({letter for letter in equation if letter.isalpha()})
    # ONNX has small letters only.
    small = {letter: chr(ord("a") + number) for number, letter in enumerate(letters)}
    if len(letters) > 26:
        raise refused(node, "ONNX has 26 letters for axes")
    written = "".join(small.get(letter, letter) for letter in equation)
    b.bind(node.value(), b.emit("Einsum", *map(b.get, node.inputs), equation=written))


def _alone(write: Callable[[Builder, Node], tuple[str, Order]], b: Builder, node: Node) -> None:
    b.bind(node.value(), *write(b, node))


RULES: Mapping[str, Rule] = {
    "Conv2D": partial(_alone, conv),
    "Conv3D": partial(_alone, conv),
    "DepthwiseConv2dNative": partial(_alone, depthwise),
    "Conv2DBackpropInput": _conv_transpose,
    "MaxPool": partial(_pool, "MaxPool"),
    "MaxPool3D": partial(_pool, "MaxPool"),
    "AvgPool": partial(_pool, "AveragePool"),
    "AvgPool3D": partial(_pool, "AveragePool"),
    "FusedBatchNorm": _batch_norm,
    "FusedBatchNormV2": _batch_norm,
    "FusedBatchNormV3": _batch_norm,
    "MatMul": partial(_alone, gemm),
    "BatchMatMul": _batch_mat_mul,
    "BatchMatMulV2": _batch_mat_mul,
    "BatchMatMulV3": _batch_mat_mul,
    "Einsum": _einsum,
}
