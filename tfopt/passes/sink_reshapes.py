"""Compute on rows what a Reshape from rows only delays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.layout.rows import REDUCTIONS, Disguised, reads_rows


@graph_pass
def sink_reshapes(graph: Graph) -> Graph | Outcome:
    """Move a Reshape of rows behind what works on each row alone, up to a Reshape back into rows.

        %m = MatMul(%x, %w) -> [?,64]
        %r = Reshape(%m, %shape) -> [?,?,64]              %m = MatMul(%x, %w)
        %e = Erf(%r)                                ->    %e = Erf(%m)
        %f = Reshape(%e, [-1, 64])                        %n = MatMul(%e, %v)
        %n = MatMul(%f, %v)

    Dense layers on sequences (Tensordot) multiply matrices of rows and give every result its three dimensions back;
    what stands between two of them is then hidden from the products that TensorFlow would fuse it with. Elementwise
    ops, bias, softmax and reductions of the last axis make the same of rows. Their other operands hold one value for
    each column, or have the same shape in every call.
    """
    disguised = _with_ends(graph)
    rewrite = _Rewrite(graph, disguised)
    for node in graph.nodes:
        rewrite.visit(node)
    return Outcome(rewrite.editor.finish(), (*rewrite.findings, *disguised.findings))


def _with_ends(graph: Graph) -> Disguised:
    """What can be made as rows and then be given the shape in which it is read."""
    sizes, apart = KnownSizes(graph), frozenset[str]()
    while True:
        disguised = Disguised(graph, sizes, apart)
        endless = frozenset(node.name for node in disguised.without_ends())
        if not endless:
            return disguised
        apart |= endless


class _Rewrite:
    """Walks through the graph in its order and keeps the rows of each value."""

    def __init__(self, graph: Graph, disguised: Disguised) -> None:
        self.editor = Editor(graph)
        self.findings: list[Finding] = []
        self._graph = graph
        self._disguised = disguised
        self._rows: dict[Value, Value] = {}
        self._passed: dict[Value, Value] = {}

    def visit(self, node: Node) -> None:
        if reads_rows(self._graph, node) and node.inputs[0] in self._rows:
            self._passed[node.value()] = self._rows[node.inputs[0]]
            self.editor.redirect(node.value(), self._passed[node.value()])
            self.findings.append(Finding(node.name, True, f"{node.inputs[0]} is made as rows"))
        elif self._disguised.is_made(node):
            self._rows[node.value()] = self._add(node)
            if self._disguised.is_left(node):
                self._reshape(node)

    def _add(self, node: Node) -> Value:
        """The same op on rows."""
        inputs = tuple(self._operand(node, value) for value in node.inputs)
        made = node.outputs[0]
        dims = (made.shape.dims or (None,))[-1]
        rows = TensorType(made.dtype, Shape.of(None, dims))
        return self.editor.add(node.op, f"{node.name}/rows", inputs, [rows], node.attrs).value()

    def _operand(self, node: Node, value: Value) -> Value:
        if value in self._rows:
            return self._rows[value]
        if node.op in REDUCTIONS and value == node.inputs[1]:
            return self._last_axis(node)
        if not self._disguised.has(value):
            return self._column(node, value) if self._disguised.is_column_wise(value) else self._opened(value)
        rows = self._disguised[value].rows
        assert rows is not None
        return self._passed.get(rows, rows)

    def _last_axis(self, node: Node) -> Value:
        axes = self._graph.constant(node.inputs[1])
        assert axes is not None
        # Counted from the end: by any other number TensorFlow knows a layer norm, and fuses it with an epsilon of its
        # own (`fuse_layer_norm`).
        if (axes.array == -1).all():
            return node.inputs[1]
        return self.editor.constant(f"{node.name}/axis", np.full_like(axes.array, -1))

    def _column(self, node: Node, value: Value) -> Value:
        tensor = self._graph.constant(value)
        if tensor is None or tensor.array.ndim <= 1:
            return value
        return self.editor.constant(f"{node.name}/columns", tensor.array.reshape(-1), tensor.dtype)

    def _opened(self, value: Value) -> Value:
        """The value as rows, where nobody had it so."""
        made = self._graph.type_of(value)
        width = (made.shape.dims or (None,))[-1]
        shape = self.editor.constant(f"{value.node}/flat", np.array([-1, width], np.int32))
        attrs = {"T": made.dtype, "Tshape": DType.INT32}
        rows = TensorType(made.dtype, Shape.of(None, width))
        self._rows[value] = self.editor.add("Reshape", f"{value.node}/rows", (value, shape), [rows], attrs).value()
        return self._rows[value]

    def _reshape(self, node: Node) -> None:
        shape = self._disguised[node.value()].shape
        assert shape is not None
        attrs = {"T": node.outputs[0].dtype, "Tshape": self._graph.type_of(shape).dtype}
        inputs = (self._rows[node.value()], shape)
        self.editor.update(replace(node, op="Reshape", inputs=inputs, attrs=attrs))
        self.findings.append(Finding(node.name, True, f"{node.op} computed on rows and reshaped behind"))
