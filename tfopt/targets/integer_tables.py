"""Tables that are looked up, kept as 8-bit integers: the rows that a call wants are made numbers, and no others.

%y = GatherV2(%table, %ids, 0)    ->    %y = Mul(Cast(GatherV2(%levels, %ids, 0)), %scales)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Node
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, TensorType


def with_integer_tables(graph: Graph) -> Graph:
    editor = Editor(graph)
    for node in graph.by_op.get("GatherV2", ()):
        if _is_integer_table(graph, node):
            _lower(graph, editor, node)
    return editor.finish()


def _is_integer_table(graph: Graph, node: Node) -> bool:
    """Are there scales for each column of a table of which whole rows are taken?"""
    table, axis = graph.constant(node.inputs[0]), graph.constant(node.inputs[2])
    grid = graph.grids.get(node.inputs[0])
    if table is None or axis is None or grid is None or node.attrs.get("batch_dims"):
        return False
    return table.array.ndim == 2 and grid.narrow and grid.axes in ((), (1,)) and int(axis.array) == 0


def _lower(graph: Graph, editor: Editor, node: Node) -> None:
    table, grid, rows = graph.constant(node.inputs[0]), graph.grids[node.inputs[0]], node.outputs[0]
    assert table is not None
    levels = editor.constant(f"{node.inputs[0].node}/levels", grid.levels(table.array).astype(np.int8))
    taken = TensorType(DType.INT8, rows.shape)
    gathered = editor.add(
        "GatherV2", f"{node.name}/levels", [levels, *node.inputs[1:]], [taken], {**node.attrs, "Tparams": DType.INT8}
    )
    attrs: Mapping[str, AttrValue] = {"SrcT": DType.INT8, "DstT": DType.FLOAT32, "Truncate": False}
    numbers = editor.add("Cast", f"{node.name}/numbers", [gathered.value()], [rows], attrs)
    scales = editor.constant(f"{node.name}/scales", np.array(grid.scales, np.float32))
    editor.update(Node(node.name, "Mul", (numbers.value(), scales), {"T": DType.FLOAT32}, (rows,), node.controls))
