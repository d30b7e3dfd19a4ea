"""Linear layers with what follows them: the bias, a sum with another value, an activation.

What every runtime computes in one kernel, and what a quantized layer therefore rounds once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR, Linear, linear

#: Activations that are ends of a range.
CLAMPS = frozenset({"Relu", "Relu6"})


@dataclass(frozen=True, slots=True)
class Fused:
    """`layer`, then `bias` (one number for each output channel) where there is one, then the sum with `residual`, then
    `activation` (an op's name). `summed` is the value before the sum, `output` the last one; `nodes` are all that it
    stands for, in order. Every value between two of them is read by the next alone."""

    layer: Linear
    bias: NDArray[Any] | None
    residual: Value | None
    activation: str | None
    summed: Value
    output: Value
    nodes: tuple[str, ...]

    @property
    def sum_node(self) -> str:
        """Which node adds the residual, where there is one."""
        return self.nodes[-1 if self.activation is None else -2]


def fused_layers(graph: Graph) -> tuple[Fused, ...]:
    """Those with a constant weight, in graph order. Of two layers that one sum reads, the later takes it, and the other
    one's output is its residual."""
    place = {node.name: n for n, node in enumerate(graph.nodes)}
    found: dict[str, Fused] = {}
    for node in graph.nodes:
        layer = linear(graph, node) if node.op in LINEAR else ""
        if isinstance(layer, Linear):
            found[node.name] = _with_sum(graph, _with_bias(graph, layer), place)
    return tuple(found.values())


def _with_bias(graph: Graph, layer: Linear) -> Fused:
    value = layer.node.value()
    alone = Fused(layer, None, None, None, value, value, (layer.node.name,))
    reader = _only_reader(graph, value)
    if reader is None or reader.op not in ("BiasAdd", "AddV2", "Add"):
        return alone
    other = reader.inputs[1] if reader.inputs[0] == value else reader.inputs[0]
    constant = graph.constant(other)
    if constant is None or not _is_per_channel(constant.array, layer, reader):
        return alone
    bias = np.broadcast_to(constant.array.reshape(-1), (layer.channels,))
    made = reader.value()
    return Fused(layer, bias, None, None, made, made, (*alone.nodes, reader.name))


def _is_per_channel(array: NDArray[Any], layer: Linear, reader: Node) -> bool:
    if reader.op != "BiasAdd" and layer.axis != -1:
        return array.size == 1
    return array.size in (1, layer.channels) and array.shape[-1:] in ((), (array.size,))


def _with_sum(graph: Graph, fused: Fused, place: dict[str, int]) -> Fused:
    reader = _only_reader(graph, fused.output)
    if reader is not None and reader.op in ("AddV2", "Add") and graph.type_of(fused.output) == reader.outputs[0]:
        other = reader.inputs[1] if reader.inputs[0] == fused.output else reader.inputs[0]
        same = graph.type_of(other) == reader.outputs[0] and graph.constant(other) is None
        if same and place[other.node] < place[fused.nodes[-1]] and other != fused.output:
            made = reader.value()
            fused = Fused(fused.layer, fused.bias, other, None, fused.summed, made, (*fused.nodes, reader.name))
            reader = _only_reader(graph, made)
    if reader is None or reader.op not in CLAMPS:
        return fused
    made = reader.value()
    return Fused(fused.layer, fused.bias, fused.residual, reader.op, fused.summed, made, (*fused.nodes, reader.name))


def _only_reader(graph: Graph, value: Value) -> Node | None:
    return graph.readers[value][0] if graph.is_private(value) else None
