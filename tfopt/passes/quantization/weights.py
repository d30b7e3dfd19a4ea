"""The grids of weights: symmetric, a scale for each output channel, and the payload put on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.fused import Fused
from tfopt.ir.graph import Graph, Value
from tfopt.ir.grid import Grid, symmetric
from tfopt.ir.linear import Linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor

#: Ends that are tried, as shares of a channel's largest weight.
_SHARES = (0.96, 0.92, 0.88, 0.84, 0.8, 0.75, 0.7)

#: The error that shorter ends must save before a channel's largest weights are cut for it.
_WORTHWHILE = 0.98

#: By how much of a step a weight may be off its level and is still taken to lie there, and how many of a channel's
#: weights are looked at before all of them are.
_ON_LEVEL, _FEW = 1e-3, 64

#: Elements that are searched at once.
_BLOCK = 1 << 20


def weight_grid(layer: Linear, bits: int) -> Grid:
    """For each output channel the grid that it lies on already, as training for integers leaves it; else that of least
    squared error, or that of its largest weight where it is as good."""
    matrix = _by_channel(layer)
    largest = np.abs(matrix).max(axis=0)
    width = max(1, _BLOCK // matrix.shape[0])
    starts = range(0, matrix.shape[1], width)
    best = [_best_ends(matrix[:, at : at + width], largest[at : at + width], bits) for at in starts]
    ends = {**dict(enumerate(np.concatenate(best))), **_ends_of_levels(matrix, largest, bits)}
    return symmetric(np.array([ends[channel] for channel in range(len(ends))]), bits=bits, axes=layer.out_axes)


def _ends_of_levels(matrix: NDArray[np.float32], largest: NDArray[np.float32], bits: int) -> dict[int, np.float32]:
    """The ends of the grid that a channel lies on, the finest, for those that lie on one: whatever it was multiplied
    with since, its largest weight is so many steps."""
    top = 2 ** (bits - 1) - 1
    found: dict[int, np.float32] = {}
    few, live = matrix[:_FEW], largest > 0
    for steps in range(top, 0, -1):
        step = np.where(live, largest, 1) / np.float32(steps)
        for channel in np.flatnonzero(live & (_off_level(few, step) < _ON_LEVEL)):
            if channel not in found and _off_level(matrix[:, channel : channel + 1], step[channel]) < _ON_LEVEL:
                found[int(channel)] = np.float32(step[channel] * top)
    return found


def _off_level(matrix: NDArray[np.float32], step: NDArray[np.float32]) -> NDArray[np.float32]:
    """By how much of a step the elements of each column are off a level at most."""
    ratios = matrix / step
    return np.asarray(np.abs(ratios - np.rint(ratios)).max(axis=0))


def _by_channel(layer: Linear) -> NDArray[np.float32]:
    array = layer.weight.array
    rest = tuple(axis for axis in range(array.ndim) if axis not in layer.out_axes)
    return np.asarray(array.transpose(*rest, *layer.out_axes).reshape(-1, layer.channels), np.float32)


def _best_ends(matrix: NDArray[np.float32], largest: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    best, least = np.array(largest), _errors(matrix, largest, bits) * np.float32(_WORTHWHILE)
    for share in _SHARES:
        tried = largest * np.float32(share)
        errors = _errors(matrix, tried, bits)
        better = errors < least
        best[better], least[better] = tried[better], errors[better]
    return best


def _errors(matrix: NDArray[np.float32], ends: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    top = 2 ** (bits - 1) - 1
    scales = np.array(symmetric(ends, bits=bits, axes=(1,)).scales, np.float32)
    levels = np.rint(matrix / scales)
    np.clip(levels, -top, top, out=levels)
    levels *= scales
    levels -= matrix
    return np.asarray(np.square(levels, out=levels).sum(axis=0))


class RoundedWeights:
    """Weights of layers on grids of so many bits, each made once, when it is first asked for: to the nearest numbers,
    or as it was `put`. Layers that have one weight, and count its channels along the same axes, have one made. `told`
    says of a layer how that was, if there is anything to say."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.told: dict[str, str] = {}
        self._made: dict[tuple[int, tuple[int, ...]], tuple[Grid, Tensor]] = {}
        self._kept: list[Tensor] = []  # an id is one as long as its object lives

    def of(self, layer: Linear) -> tuple[Grid, Tensor]:
        key = id(layer.weight), layer.out_axes
        if key not in self._made:
            grid = weight_grid(layer, self.bits)
            self._kept.append(layer.weight)
            self._made[key] = grid, rounded(grid, layer.weight)
        return self._made[key]

    def put(self, layer: Linear, tensor: Tensor) -> None:
        """A tensor that lies on the layer's grid."""
        self._made[id(layer.weight), layer.out_axes] = self.of(layer)[0], tensor


def with_weight_grids(graph: Graph, layers: Sequence[Fused], weights: RoundedWeights) -> Graph:
    """Put the weights of these layers on grids. A weight that others read as well stays for them as it is, and the
    layers get a Const of their own."""
    editor = Editor(graph)
    readers: dict[tuple[Value, tuple[int, ...]], list[Linear]] = {}
    for fused in layers:
        readers.setdefault((fused.layer.weight_value, fused.layer.out_axes), []).append(fused.layer)
    grids: dict[Value, Grid] = {}
    for (value, _), alike in readers.items():
        grid, tensor = weights.of(alike[0])
        grids[_put(editor, value, tensor, alike)] = grid
    return replace(editor.finish(), grids=grids)


def rounded(grid: Grid, weight: Tensor) -> Tensor:
    """The weight on its grid; itself where it lies there already."""
    snapped = grid.snapped(weight.array)
    return weight if np.array_equal(snapped, weight.array) else Tensor(snapped)


def _put(editor: Editor, value: Value, tensor: Tensor, layers: Sequence[Linear]) -> Value:
    graph = editor.graph
    if len(graph.readers[value]) == len(layers) and value not in graph.output_set and value.node not in graph.targets:
        editor.update(graph.producer(value).with_attrs(value=tensor))
        return value
    own = editor.constant(f"{value.node}/int8", tensor.array)
    for layer in layers:
        editor.update(layer.node.with_inputs(layer.data_value, own, *layer.node.inputs[2:]))
    return own
