"""Matrix products whose data is rounded as it comes: each row with a scale of its own, so that what an example is
answered does not depend on what else is in its batch.

    %y = Relu(BiasAdd(MatMul(%x, %w), %b))    ->    %ends = Max(Abs(%x), 1)
                                                    %q = QuantizeV2(%x / %ends, -1, 1)
                                                    %p = _QuantizedMatMul(%q, %levels)  [BiasAdd, Dequantize]
                                                    %y = Relu(BiasAdd(%p * %ends, %b))

The kernel knows one scale for all rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import AttrValue, Graph, Value
from tfopt.ir.grid import Grid, symmetric
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.targets.native_lowering import ops
from tfopt.targets.native_lowering.ops import Levels

_FLOAT: Final[Mapping[str, AttrValue]] = {"T": DType.FLOAT32}
#: What a row of zeros is divided by; its reciprocal is a normal number too.
_LEAST: Final = np.float32(1e-30)
#: That of rows divided by their largest magnitude.
_UNIT: Final = symmetric(1.0)


def with_dynamic_products(graph: Graph) -> Graph:
    """Lower the MatMuls whose data has a dynamic grid; there are none of these grids any more."""
    if not any(grid.dynamic for grid in graph.grids.values()):
        return graph
    editor = Editor(graph)
    rounded: dict[Value, tuple[Levels, Value]] = {}
    for fused in fused_layers(graph):
        data, weight = fused.layer.data_value, fused.layer.weight_value
        if fused.layer.node.op == "MatMul" and weight in graph.grids and _is_dynamic(graph, data):
            if data not in rounded:
                rounded[data] = _rounded(editor, data)
            editor.redirect(fused.layer.node.value(), _product(editor, graph, fused, *rounded[data]))
            editor.remove(fused.layer.node.name)
    changed = editor.finish()
    return replace(changed, grids={value: grid for value, grid in changed.grids.items() if not grid.dynamic})


def _is_dynamic(graph: Graph, value: Value) -> bool:
    grid: Grid | None = graph.grids.get(value)
    return grid is not None and grid.dynamic


def _rounded(editor: Editor, data: Value) -> tuple[Levels, Value]:
    """The levels of what is read, and the largest magnitude of each row."""
    type_, name = editor.graph.type_of(data), data.node
    sizes = editor.add("Abs", f"{name}/sizes", [data], [type_], _FLOAT).value()
    axis = editor.constant(f"{name}/axis", np.array([1], np.int32))
    attrs: Mapping[str, AttrValue] = {**_FLOAT, "Tidx": DType.INT32, "keep_dims": True}
    column = TensorType(DType.FLOAT32, Shape.of((type_.shape.dims or (None,))[0], 1))
    largest = editor.add("Max", f"{name}/largest", [sizes, axis], [column], attrs).value()
    least = editor.constant(f"{name}/least", _LEAST)
    ends = editor.add("Maximum", f"{name}/ends", [largest, least], [column], _FLOAT).value()
    shares = editor.add("RealDiv", f"{name}/shares", [data, ends], [type_], _FLOAT).value()
    return ops.quantized(editor, shares, type_, _UNIT), ends


def _product(editor: Editor, graph: Graph, fused: Fused, levels: Levels, ends: Value) -> Value:
    """Of the layer alone, in float numbers."""
    layer = fused.layer
    made = replace(fused, bias=None, residual=None, activation=None, output=layer.node.value())
    product = ops.product(editor, graph, made, levels, None)
    assert isinstance(product, Value)
    type_ = layer.node.outputs[0]
    return editor.add("Mul", f"{layer.node.name}/scaled", [product, ends], [type_], _FLOAT).value()
