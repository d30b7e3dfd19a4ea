"""What a linear layer multiplies its weight with, as rows: the windows of a convolution, the rows of a product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.linear import Linear

#: Its multiples, their whole parts left out, fall evenly between 0 and 1, wherever one begins.
_GOLDEN = (5**0.5 - 1) / 2


#: They multiply the last axis of their data, whatever axes it has in front.
_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2"})


def patches(layer: Linear, data: NDArray[Any], quota: int, drawn: int) -> NDArray[np.float32]:
    """Up to `quota` rows for each of the layer's groups, of shape [groups, rows, elements], drawn evenly from all that
    the layer computes of `data`; `drawn` were drawn of other data before."""
    return rows_at(layer, data, _places(count_places(layer, data), quota, drawn))


def count_places(layer: Linear, data: NDArray[Any]) -> int:
    """Of how many rows the layer makes an output of `data`."""
    if layer.node.op in _PRODUCTS:
        return int(np.prod(data.shape[:-1]))
    return len(data) * int(np.prod(_made(layer, data)))


def rows_at(layer: Linear, data: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """The rows that the layer makes these of its outputs of, examples first, then positions, row by row: [groups,
    rows, elements].

    Elements are ordered as the weight's: kernel rows, kernel columns, input channels. The layer is a product of
    matrices, a Conv2D or a DepthwiseConv2dNative, each input channel of which is a group.
    """
    if layer.node.op in _PRODUCTS:
        return np.asarray(data.reshape(-1, data.shape[-1])[places].astype(np.float32, copy=False))[None]
    kernel, steps, rates = layer.weight.array.shape[:2], _spatial(layer, "strides"), _spatial(layer, "dilations")
    made = _made(layer, data)
    image = data.transpose(0, 2, 3, 1) if layer.axis == -3 else data
    padded = np.pad(image, ((0, 0), *_padding(layer, image.shape[1:3]), (0, 0)))
    example, row, column = np.unravel_index(places, (len(data), *made))
    taps = [
        padded[example, row * steps[0] + y * rates[0], column * steps[1] + x * rates[1]]
        for y in range(kernel[0])
        for x in range(kernel[1])
    ]
    groups = layer.in_channels if layer.node.op == "DepthwiseConv2dNative" else layer.groups
    parts = np.stack(taps, axis=1).astype(np.float32, copy=False).reshape(len(places), len(taps), groups, -1)
    return np.asarray(parts.transpose(2, 0, 1, 3).reshape(groups, len(places), -1))


def _made(layer: Linear, data: NDArray[Any]) -> list[int]:
    """How many rows and columns a convolution makes."""
    sides = data.shape[2:4] if layer.axis == -3 else data.shape[1:3]
    steps, rates = _spatial(layer, "strides"), _spatial(layer, "dilations")
    padding, kernel = _padding(layer, sides), layer.weight.array.shape[:2]
    return [
        (size + sum(pads) - (length - 1) * rate - 1) // step + 1
        for size, pads, length, step, rate in zip(sides, padding, kernel, steps, rates, strict=True)
    ]


def _places(count: int, quota: int, drawn: int) -> NDArray[np.int64]:
    if quota >= count:
        return np.arange(count)
    steps = np.arange(quota) + (np.arange(drawn, drawn + quota) * _GOLDEN) % 1.0
    return np.minimum((steps * (count / quota)).astype(np.int64), count - 1)


def _numbers(layer: Linear, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    found = layer.node.attrs.get(name, default)
    assert isinstance(found, tuple)
    return tuple(number for number in found if isinstance(number, int))


def _spatial(layer: Linear, name: str) -> tuple[int, int]:
    numbers = _numbers(layer, name, (1, 1, 1, 1))
    return (numbers[2], numbers[3]) if layer.axis == -3 else (numbers[1], numbers[2])


def _padding(layer: Linear, sides: tuple[int, ...]) -> list[tuple[int, int]]:
    """Zeros before and behind, of rows and of columns. Source: TensorFlow's tf.nn, "Notes on padding"."""
    kind = layer.node.attrs.get("padding")
    if kind == b"EXPLICIT":
        numbers = _numbers(layer, "explicit_paddings", ())
        above, below, left, right = numbers[4:] if layer.axis == -3 else numbers[2:6]
        return [(above, below), (left, right)]
    if kind == b"VALID":
        return [(0, 0), (0, 0)]
    steps, rates = _spatial(layer, "strides"), _spatial(layer, "dilations")
    found = []
    for size, length, step, rate in zip(sides, layer.weight.array.shape[:2], steps, rates, strict=True):
        total = max((-(-size // step) - 1) * step + (length - 1) * rate + 1 - size, 0)
        found.append((total // 2, total - total // 2))
    return found
