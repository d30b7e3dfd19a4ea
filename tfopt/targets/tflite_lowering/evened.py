"""Even out the channels of a result that one grid would round too coarsely.

    %y = BiasAdd(MatMul(%x, %w), %b)    ->    %e = BiasAdd(MatMul(%x, %w / s), %b / s)
                                              %y = Mul(%e, s)

A few channels of a transformer's residual stream are a hundred times as large as the rest, and TFLite gives a result
one scale. Weights have a scale for each channel, so that dividing them takes nothing from them, and who reads such a
result computes in floating point anyway.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tfopt.ir import DType, Graph, Value
from tfopt.ir.fused import Fused
from tfopt.ir.grid import Grid, affine
from tfopt.ir.rewrite import Editor
from tfopt.passes.needs.statistics import Observed

#: Where half of the channels have as many steps up to their largest number, nothing has to be done.
_FINE: Final = 32
#: How much larger than its channel's share a number may become.
_MOST: Final = 256.0


def with_evened_results(graph: Graph, results: dict[Value, tuple[Fused, Observed]]) -> Graph:
    """The graph with grids for these results, which nothing but float ops reads."""
    editor = Editor(graph)
    grids: dict[Value, Grid] = {}
    for value, (fused, seen) in results.items():
        grid = affine(seen.low, seen.high)
        # An output may have to be integers itself.
        shares = None if value in graph.output_set else _shares(graph, fused, seen, grid.scale)
        if shares is None:
            grids[value] = grid
            continue
        grids.update(_divided(graph, editor, fused, shares))
        grids[value] = affine(float((seen.channel_low / shares).min()), float((seen.channel_high / shares).max()))
        type_ = graph.type_of(value)
        factors = editor.constant(f"{value.node}/shares", shares.astype(np.float32))
        whole = editor.add("Mul", f"{value.node}/whole", [value, factors], [type_], {"T": DType.FLOAT32})
        editor.redirect(value, whole.value())
    made = editor.finish()
    return replace(made, grids={**made.grids, **grids})


def _shares(graph: Graph, fused: Fused, seen: Observed, step: float) -> NDArray[np.float64] | None:
    """How large each channel is beside the largest; None where one step is fine enough for most, or the layer's form is
    another than a plain product's."""
    layer = fused.layer
    grid = graph.grids[layer.weight_value]
    largest = np.maximum(-seen.channel_low, seen.channel_high)
    fits = largest.size == layer.channels and layer.axis == -1 and grid.axes == layer.out_axes
    if layer.node.op != "MatMul" or fused.activation not in (None, "Relu") or not fits:
        return None
    if np.median(largest) >= _FINE * step:
        return None
    return np.asarray(np.maximum(largest / largest.max(), 1 / _MOST))


def _divided(graph: Graph, editor: Editor, fused: Fused, shares: NDArray[np.float64]) -> dict[Value, Grid]:
    """Put the weight and the bias of each channel, divided by its share, in their place."""
    layer, node = fused.layer, fused.layer.node
    grid = graph.grids[layer.weight_value]
    finer = replace(grid, scales=tuple(map(float, np.array(grid.scales) / shares)))
    weight = editor.constant(f"{node.name}/evened", finer.snapped(layer.scaled(1 / shares)))
    editor.update(node.with_inputs(layer.data_value, weight, *node.inputs[2:]))
    if fused.bias is not None:
        adds = graph[fused.nodes[1]]
        at = next(at for at, value in enumerate(adds.inputs) if graph.constant(value) is not None)
        bias = editor.constant(f"{node.name}/evened_bias", (fused.bias / shares).astype(np.float32))
        editor.update(adds.with_inputs(*adds.inputs[:at], bias, *adds.inputs[at + 1 :]))
    return {weight: finer}
