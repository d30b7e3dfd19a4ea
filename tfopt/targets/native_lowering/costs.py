"""Which chains of integer layers are worth their price: what int8 saves, and what going to levels costs.

Times of one example, on one thread, as `python -m benchmarks.int8_costs` fits and checks them. They are of one machine;
what is asked of them is a sign. That a depthwise convolution or what is made of levels again costs or saves
something beside the rest does not show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from tfopt.ir.facts import DimsOf, macs
from tfopt.ir.graph import Graph, Value
from tfopt.ir.known_sizes import counted_dims
from tfopt.targets.native_lowering.plan import Plan

#: What one of each gains (a loss is below zero): a layer; a million multiply-adds of its kind; a thousand weights of a
#: MatMul; a tensor that becomes levels and a thousand of its numbers.
MICROSECONDS: Final[Mapping[str, float]] = {
    "layers": -3.6,
    "Conv2D": 12.3,
    "MatMul": 11.0,
    "weights": 0.1,
    "quantized": -6.5,
    "quantized numbers": -0.05,
}


@dataclass(frozen=True, slots=True)
class Chain:
    """Integer layers that hand levels to each other: names as in `Plan`, and how much there is of what takes time."""

    names: frozenset[str]
    work: Mapping[str, float]

    @property
    def gain(self) -> float:
        """Microseconds that it saves, as far as can be told; below zero those that it takes."""
        return sum(MICROSECONDS[kind] * amount for kind, amount in self.work.items())


def without_losses(graph: Graph, made: Plan) -> Plan:
    """The plan without the chains that would be slower as integers than they are in float."""
    losing = [chain for chain in chains(graph, made) if chain.gain < 0]
    lost = frozenset[str]().union(*(chain.names for chain in losing))
    told = {
        made.layers[name].layer.node.name: _told(chain) for chain in losing for name in chain.names & made.layers.keys()
    }
    layers = {name: layer for name, layer in made.layers.items() if name not in lost}
    return Plan(layers, made.carriers - lost, {**made.left, **told})


def _told(chain: Chain) -> str:
    return f"too small: going to integers would take {-chain.gain:.0f} microseconds more than it saves"


def chains(graph: Graph, made: Plan) -> tuple[Chain, ...]:
    dims_of = counted_dims(graph)
    return tuple(Chain(names, _work(graph, made, names, dims_of)) for names in _connected(graph, made))


def _connected(graph: Graph, made: Plan) -> Iterator[frozenset[str]]:
    group: dict[str, set[str]] = {}
    for name, read in _readings(graph, made):
        joined = {name}.union(*(group[value.node] for value in read if made.makes(value)))
        group.update(dict.fromkeys(joined, joined))
    yield from {id(names): frozenset(names) for names in group.values()}.values()


def _readings(graph: Graph, made: Plan) -> Iterator[tuple[str, tuple[Value, ...]]]:
    """What makes levels, in graph order, with what it reads as levels."""
    for node in graph.nodes:
        if node.name in made.layers:
            layer = made.layers[node.name]
            yield node.name, (layer.layer.data_value, *([layer.residual] if layer.residual is not None else []))
        elif node.name in made.carriers:
            yield node.name, node.inputs[:-1] if node.op == "ConcatV2" else node.inputs[:1]


def _work(graph: Graph, made: Plan, names: frozenset[str], dims_of: DimsOf) -> Mapping[str, float]:
    work = dict.fromkeys(MICROSECONDS, 0.0)
    for fused in (made.layers[name] for name in names & made.layers.keys()):
        work["layers"] += 1
        if fused.layer.node.op != "DepthwiseConv2dNative":
            work[fused.layer.node.op] += macs(graph, fused.layer.node, dims_of) / 1e6
        if fused.layer.node.op == "MatMul":
            work["weights"] += fused.layer.weight.array.size / 1e3
    read = {value for name, values in _readings(graph, made) if name in names for value in values}
    for value in read:
        if not made.makes(value):
            work["quantized"] += 1
            work["quantized numbers"] += prod(dims_of(value) or ()) / 1e3
    return work
