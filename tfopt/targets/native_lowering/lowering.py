"""The grids of a model as integer ops that stock TensorFlow runs: int8 from layer to layer.

    %y = Relu(BiasAdd(Conv2D(%x, %w), %b))        %q = QuantizeV2(%x)
    %z = Conv2D(%y, %v)                      ->   %p = _FusedQuantizedConv2D(%q, %w, %b)  [BiasAdd, Requantize]
                                                  %z = Dequantize(_FusedQuantizedConv2D(%p, %v))

A layer becomes one op when all of it is on the list of forms that work (`plan.py`); else it stays float, and why
is told. What is rounded to unsigned bytes ends at 0 without the Relu. What float ops read of an integer layer is
dequantized once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tfopt.ir.facts import IDENTITIES
from tfopt.ir.fused import Fused
from tfopt.ir.graph import Graph, Model, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.targets.integer_tables import with_integer_tables
from tfopt.targets.native_lowering import ops
from tfopt.targets.native_lowering.costs import without_losses
from tfopt.targets.native_lowering.gelu import with_gelu_fused
from tfopt.targets.native_lowering.ops import Levels
from tfopt.targets.native_lowering.plan import Plan, plan
from tfopt.targets.native_lowering.sums import with_readers_first

#: Writes what carries levels of one tensor.
_CARRIED: Final[Mapping[str, Callable[[Editor, Node, Levels], Levels]]] = {
    "AvgPool": ops.pooled,
    "MaxPool": ops.pooled,
    "Pad": ops.padded,
    "Reshape": ops.reshaped,
}


@dataclass(frozen=True, slots=True)
class Lowered:
    """`model` without grids; `layers` are names of those that compute on integers, `left` says of others why not."""

    model: Model
    layers: tuple[str, ...]
    left: Mapping[str, str]


def with_native_int8(model: Model, *, faster_only: bool = False) -> Lowered:
    """Lower what can be lowered, or of that what is faster as integers; weights of layers that stay float are on their
    grids all the same."""
    made = plan(model.graph)
    if faster_only:
        made = without_losses(model.graph, made)
    graph = with_gelu_fused(with_readers_first(_Walk(with_integer_tables(model.graph), made).graph()))
    layers = tuple(fused.layer.node.name for fused in made.layers.values())
    return Lowered(model.with_graph(replace(graph, grids={})), layers, made.left)


class _Walk:
    """Emits in graph order; `_levels` are the quantized tensors that there are, by the value that they stand for."""

    def __init__(self, graph: Graph, made: Plan) -> None:
        self._graph = graph
        self._plan = made
        self._gone = made.nodes
        self._editor = Editor(graph)
        self._levels: dict[Value, Levels] = {}

    def graph(self) -> Graph:
        for node in self._graph.nodes:
            fused = self._plan.layers.get(node.name)
            if fused is not None:
                self._layer(fused)
            elif node.name in self._plan.carriers:
                self._hold(node.value(), self._carried(node))
        for name in self._gone:
            self._editor.remove(name)
        return self._editor.finish()

    def _layer(self, fused: Fused) -> None:
        data, grid = self._quantized(fused.layer.data_value), self._graph.grids.get(fused.output)
        if fused.layer.node.op != "MatMul":
            assert grid is not None
            summand = None if fused.residual is None else self._quantized(fused.residual)
            self._hold(fused.output, ops.convolution(self._editor, self._graph, fused, data, grid, summand))
            return
        if fused.activation is None and not self._has_integer_readers(fused.output):
            grid = None
        made = ops.product(self._editor, self._graph, fused, data, grid)
        if isinstance(made, Levels):
            self._hold(fused.output, made)
        else:
            self._editor.redirect(fused.output, made)

    def _carried(self, node: Node) -> Levels:
        if node.op == "ConcatV2":
            return ops.joined(self._editor, node, [self._quantized(value) for value in node.inputs[:-1]])
        data = self._quantized(node.inputs[0])
        if node.op in IDENTITIES:
            return data
        return _CARRIED[node.op](self._editor, node, data)

    def _quantized(self, value: Value) -> Levels:
        if value not in self._levels:
            grid, type_ = self._graph.grids[value], self._graph.type_of(value)
            self._levels[value] = ops.quantized(self._editor, value, type_, grid)
        return self._levels[value]

    def _hold(self, value: Value, levels: Levels) -> None:
        self._levels[value] = levels
        readers = self._graph.readers.get(value, ())
        if value in self._graph.output_set or any(reader.name not in self._gone for reader in readers):
            type_ = self._graph.type_of(value)
            self._editor.redirect(value, ops.dequantized(self._editor, levels, type_, value.node))

    def _has_integer_readers(self, value: Value) -> bool:
        return any(reader.name in self._gone for reader in self._graph.readers.get(value, ()))
