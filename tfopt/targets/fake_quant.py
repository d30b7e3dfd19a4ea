"""Lower the grids of a model to FakeQuant ops, which plain TensorFlow runs: what the decision costs, in floating point.

A weight needs none, since its payload lies on its grid.
Source: tensorflow/core/kernels/fake_quant_ops_functor.h.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfopt.errors import ConversionError
from tfopt.ir import Graph, Model, Node, Value
from tfopt.ir.bodies import innermost_first
from tfopt.ir.grid import Grid
from tfopt.ir.rewrite import Editor


def with_fake_quant(model: Model) -> Model:
    """The model without grids, in which a FakeQuantWithMinMaxArgs rounds each value that had one: whatever reads the
    value, and the caller who fetches it, gets the rounded one. Halves go up, where `Grid.snapped` takes the even level.
    Values whose grids are dynamic are not rounded.

    Raises ConversionError for a value that is no constant and has a scale for each channel.
    """
    return model.with_graph(innermost_first(model.graph, lambda graph, _: _rounded(graph)))


def _rounded(graph: Graph) -> Graph:
    if not graph.grids:
        return graph
    editor = Editor(graph)
    for value in sorted(graph.grids):
        if graph.constant(value) is None and graph.is_read(value) and not graph.grids[value].dynamic:
            editor.redirect(value, _fake_quant(editor, value, graph.grids[value]).value())
    return replace(editor.finish(), grids={})


def _fake_quant(editor: Editor, value: Value, grid: Grid) -> Node:
    if grid.axes:
        raise ConversionError("a value that is no constant has a scale for each channel", where=str(value))
    low, high = ends(grid)
    attrs = {"min": low, "max": high, "num_bits": grid.bits, "narrow_range": grid.narrow}
    name = f"{value.node}/rounded_{value.port}" if value.port else f"{value.node}/rounded"
    return editor.add("FakeQuantWithMinMaxArgs", name, [value], [editor.graph.type_of(value)], attrs)


def ends(grid: Grid) -> tuple[float, float]:
    """The ends of a grid of one scale, in float32: such that this scale comes out of them where float32 has such ends,
    and else the one beside it. The scale is what is between them over the number of steps."""
    low, high = np.float32(grid.low), np.float32(grid.high)
    if grid.narrow:
        return float(low), float(high)
    steps = np.float32(grid.highest - grid.lowest)
    above, below = np.nextafter(high, np.float32(np.inf)), np.nextafter(high, np.float32(0))
    for candidate in (high, above, below):
        if (candidate - low) / steps == np.float32(grid.scale):
            return float(low), float(candidate)
    return float(low), float(high)
