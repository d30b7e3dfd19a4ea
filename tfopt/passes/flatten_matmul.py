"""Multiply a batch of matrices by one weight as one matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass

_INT32 = DType.INT32
_SLICE: dict[str, AttrValue] = {
    "T": _INT32,
    "Index": _INT32,
    "begin_mask": 1,
    "end_mask": 0,
    "ellipsis_mask": 0,
    "new_axis_mask": 0,
    "shrink_axis_mask": 0,
}


@graph_pass
def flatten_matmul(graph: Graph) -> Graph | Outcome:
    """Write a BatchMatMul by one constant matrix as a MatMul of all rows.

                                                        %r = Reshape(%x, [-1, 64])
        %y = BatchMatMulV2(%x, %w) -> [?,8,32]    ->    %m = MatMul(%r, %w)
                                                        %y = Reshape(%m, [-1, 8, 32])

    Keras 3 writes Dense and EinsumDense on sequences so. TensorFlow fuses MatMul with the bias, activation and sum
    behind it, BatchMatMul with none of them.
    """
    editor = Editor(graph)
    findings = []
    for op in ("BatchMatMul", "BatchMatMulV2"):
        for node in graph.by_op.get(op, ()):
            if graph.type_of(node.inputs[1]).shape.rank != 2:
                continue
            reason = _reason_to_stay(graph, node)
            if reason is None:
                _write(graph, editor, node)
            findings.append(Finding(node.name, reason is None, reason or "one MatMul of all rows"))
    return Outcome(editor.finish(), tuple(findings))


def _reason_to_stay(graph: Graph, node: Node) -> str | None:
    dims = graph.type_of(node.inputs[0]).shape.dims
    if dims is None or len(dims) < 3 or dims[-1] is None:
        return f"multiplies {graph.type_of(node.inputs[0])}"
    if graph.constant(node.inputs[1]) is None:
        return f"its matrix is made by a {graph.producer(node.inputs[1]).op}, and is no constant"
    if node.attrs.get("adj_x") or node.controls:
        return "transposes what it multiplies, or waits for other nodes"
    if 0 in (graph.type_of(node.inputs[1]).shape.dims or ()):
        return "its matrix is empty: no Reshape can tell how many rows nothing has"
    if not node.outputs[0].dtype.is_floating or 0 in dims:
        return f"multiplies {graph.type_of(node.inputs[0])}"
    return None


def _write(graph: Graph, editor: Editor, node: Node) -> None:
    made = node.outputs[0]
    before, weight = graph.type_of(node.inputs[0]).shape.dims, graph.type_of(node.inputs[1]).shape.dims
    assert before is not None and weight is not None, "_reason_to_stay has looked"
    width = weight[0 if node.attrs.get("adj_y") else 1]
    attrs: dict[str, AttrValue] = {"T": made.dtype, "Tshape": _INT32}
    flat = editor.constant(f"{node.name}/flat", np.array([-1, before[-1]], np.int32))
    made_rows = TensorType(made.dtype, Shape.of(None, before[-1]))
    rows = editor.add("Reshape", f"{node.name}/rows", (node.inputs[0], flat), [made_rows], attrs)
    multiplied = editor.add(
        "MatMul",
        f"{node.name}/MatMul",
        (rows.value(), node.inputs[1]),
        [TensorType(made.dtype, Shape.of(None, width))],
        {
            "T": made.dtype,
            "transpose_a": False,
            "transpose_b": node.attrs.get("adj_y", False),
            "grad_a": False,
            "grad_b": False,
        },
    )
    shape = _shape(graph, editor, node, before, width)
    editor.update(replace(node, op="Reshape", inputs=(multiplied.value(), shape), attrs=attrs))


def _shape(graph: Graph, editor: Editor, node: Node, dims: tuple[int | None, ...], width: int | None) -> Value:
    """The shape of the product: written down where at most one dim is unknown, else computed of the input's."""
    if dims[:-1].count(None) <= 1:
        known = [-1 if dim is None else dim for dim in (*dims[:-1], width)]
        return editor.constant(f"{node.name}/shape", np.array(known, np.int32))
    rank = len(dims)
    attrs: dict[str, AttrValue] = {"T": node.outputs[0].dtype, "out_type": _INT32}
    whole = TensorType(_INT32, Shape.of(rank))
    shape = editor.add("Shape", f"{node.name}/Shape", node.inputs[:1], [whole], attrs).value()
    if dims[-1] == width:
        return shape
    ends = [editor.constant(f"{node.name}/{name}", np.array([at], np.int32)) for name, at in _ENDS]
    lead = TensorType(_INT32, Shape.of(rank - 1))
    batch = editor.add("StridedSlice", f"{node.name}/batch", (shape, *ends), [lead], _SLICE).value()
    columns = editor.constant(f"{node.name}/columns", np.array([width], np.int32))
    axis = editor.constant(f"{node.name}/axis", np.array(0, np.int32))
    attrs = {"T": _INT32, "N": 2, "Tidx": _INT32}
    return editor.add("ConcatV2", f"{node.name}/shape", (batch, columns, axis), [whole], attrs).value()


_ENDS = (("begin", 0), ("end", -1), ("strides", 1))
