"""How large the weights of a linear layer are, input channel by output channel."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.linear import Linear, Vector


def magnitudes(layer: Linear) -> NDArray[np.float64]:
    """The largest magnitude over the places of a filter: [groups, input channels of one, output channels of one]. Each
    channel of a depthwise filter is a group."""
    return _by_channel(layer, lambda weight, rest: np.abs(weight).max(axis=rest, initial=0))


def energies(layer: Linear) -> NDArray[np.float64]:
    """The sum of squares over the places of a filter, in the same shape."""
    return _by_channel(layer, lambda weight, rest: np.square(weight.astype(np.float64)).sum(axis=rest))


def places(layer: Linear) -> int:
    """How many a filter has; 1 for a matrix."""
    axes = {layer.in_axis, *layer.out_axes}
    return prod(dim for axis, dim in enumerate(layer.weight.array.shape) if axis not in axes)


def _by_channel(layer: Linear, reduced: Callable[[NDArray[Any], tuple[int, ...]], NDArray[Any]]) -> NDArray[np.float64]:
    weight = layer.weight.array
    axes = (layer.in_axis, *(axis for axis in layer.out_axes if axis != layer.in_axis))
    rest = tuple(axis for axis in range(weight.ndim) if axis not in axes)
    found = reduced(weight, rest)
    if layer.in_axis > axes[-1]:
        found = found.T
    inputs = layer.in_channels // layer.groups
    if layer.in_axis in layer.out_axes:
        return np.asarray(found.reshape(inputs, 1, -1), np.float64)
    return np.asarray(found.reshape(inputs, layer.groups, -1).transpose(1, 0, 2), np.float64)


def of_inputs(magnitudes: NDArray[np.float64]) -> Vector:
    """The largest of each input channel."""
    return np.asarray(magnitudes.max(axis=2, initial=0)).reshape(-1)


def of_outputs(magnitudes: NDArray[np.float64]) -> Vector:
    """The largest of each output channel."""
    return np.asarray(magnitudes.max(axis=1, initial=0)).reshape(-1)
