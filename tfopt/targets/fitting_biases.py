"""Make room for the biases of layers on integers, which are int32 in steps of the data's scale times the weight's.

Where the weights of a channel are tiny, its bias would be more steps than int32 has; where all of them are 0, they have
no scale of their own, and the steps of the one that they were given may be too wide. Both get another scale. To round
such weights anew costs next to nothing: 2^30 steps of sums are beyond what thousands of products make.

TensorFlow Lite's quantizer does the like (`AdjustWeightsForBiasScale` in quantization_utils.cc).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir import Graph
from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.grid import Grid
from tfopt.ir.linear import Linear
from tfopt.ir.rewrite import Editor

#: Leaves as much room again for the sums of products.
_LARGEST = 2**30
#: The least scale of weights that are all 0.
_LEAST = 1e-12


def fit_biases(graph: Graph) -> Graph:
    """The graph with weights on grids such that every bias fits; the very one when they do."""
    if not graph.grids:
        return graph
    editor, grids = Editor(graph), dict(graph.grids)
    for fused in fused_layers(graph):
        node, old = fused.layer.node, fused.layer.weight_value
        grid = _fitting(graph, fused)
        if grid is not None and grid != graph.grids[old]:
            made = editor.constant(f"{old.node}/fitted", grid.snapped(fused.layer.weight.array))
            editor.update(replace(node, inputs=tuple(made if value == old else value for value in node.inputs)))
            grids[made] = grid
    made_graph = editor.finish()
    if made_graph is graph:
        return graph
    return replace(made_graph, grids={value: grid for value, grid in grids.items() if value.node in made_graph})


def scale_of_data(graph: Graph, fused: Fused) -> float | None:
    """The scale of what the layer reads, when it has a bias of finite numbers and computes on integers with one scale
    for all output channels or one for each; else None."""
    layer = fused.layer
    data, weight = graph.grids.get(layer.data_value), graph.grids.get(layer.weight_value)
    if fused.bias is None or data is None or weight is None or data.axes:
        return None
    along = set(weight.axes) <= set(layer.out_axes)
    return data.scale if along and np.isfinite(fused.bias).all() else None


def _fitting(graph: Graph, fused: Fused) -> Grid | None:
    scale = scale_of_data(graph, fused)
    if scale is None or fused.bias is None:
        return None
    layer, grid = fused.layer, graph.grids[fused.layer.weight_value]
    scales, alive = by_channel(layer, grid), _alive(layer)
    # A little more, since it is rounded to float32.
    needed = np.abs(fused.bias.astype(np.float64)) / (_LARGEST * scale) * (1 + 1e-6)
    wide = ~alive & (fused.bias != 0) & bool(grid.axes)
    free = np.where(wide, scales[alive].min(initial=np.inf) if alive.any() else _LEAST, scales)
    fitting = np.maximum(free, needed).astype(np.float32)
    if (fitting == scales).all():
        return grid
    return replace(grid, scales=tuple(map(float, fitting)), axes=layer.out_axes)


def by_channel(layer: Linear, grid: Grid) -> NDArray[np.float32]:
    """The scale of each output channel's weights, on a grid along some of the axes of these channels."""
    shape = layer.weight.array.shape
    sizes = [shape[axis] if axis in grid.axes else 1 for axis in layer.out_axes]
    scales = np.array(grid.scales, np.float32).reshape(sizes)
    return np.broadcast_to(scales, [shape[axis] for axis in layer.out_axes]).reshape(-1)


def _alive(layer: Linear) -> NDArray[Any]:
    """Which output channels have a weight other than 0."""
    rest = tuple(axis for axis in range(layer.weight.array.ndim) if axis not in layer.out_axes)
    return np.asarray(layer.weight.array.any(axis=rest)).reshape(-1)
