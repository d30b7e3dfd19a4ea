"""Add to what a linear layer makes, in the bias that it has if it has one of its own."""

from __future__ import annotations

from tfopt.ir.graph import Graph
from tfopt.ir.linear import Linear, Vector
from tfopt.ir.rewrite import Editor
from tfopt.passes.channelwise.folding import NewWeights


def add_to_bias(graph: Graph, editor: Editor, layer: Linear, shift: Vector) -> None:
    """`shift`, by output channel."""
    value = layer.node.value()
    reader = graph.readers[value][0] if graph.is_private(value) else layer.node
    bias = graph.constant(reader.inputs[1]) if reader.op == "BiasAdd" else None
    if bias is None:
        editor.redirect(value, NewWeights(graph, editor).add_bias(layer, shift))
        return
    array = (bias.array + shift).astype(bias.array.dtype)
    editor.update(reader.with_inputs(value, editor.constant(f"{reader.name}/bias", array, bias.dtype)))
