"""Which chains of integer layers are worth their price: what int8 saves, and what going to levels and back costs.

Times of one example, on two threads, in microseconds that `python -m benchmarks.int8_costs` fits and checks. They are
of one machine; what is asked of them is a sign.
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

#: What one of each gains (a loss is below zero): a layer; a million multiply-adds; a thousand weights of a MatMul; a
#: thousand numbers that a layer makes; a tensor and a thousand of its numbers that become levels, or numbers again.
MICROSECONDS: Final[Mapping[str, float]] = {
    "layers": 0.0,
    "Conv2D": 10.0,
    "DepthwiseConv2dNative": 10.0,
    "MatMul": 10.0,
    "weights": 0.1,
    "made": 0.1,
    "quantized": -5.0,
    "quantized numbers": -0.1,
    "dequantized": -5.0,
    "dequantized numbers": -0.1,
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
    return f"too small: going to integers and back would take {-chain.gain:.0f} microseconds more than it saves"


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
    within = made.nodes
    levels = {value for name, read in _readings(graph, made) if name in names for value in read}
    for value in levels:
        if not made.makes(value):
            _add(work, "quantized", value, dims_of)
    for name in names:
        value = Value(name)
        fused = made.layers.get(name)
        if fused is not None:
            node = fused.layer.node
            work["layers"] += 1
            work[node.op] += macs(graph, node, dims_of) / 1e6
            work["weights"] += fused.layer.weight.array.size / 1e3 if node.op == "MatMul" else 0.0
            work["made"] += _thousands(value, dims_of)
        if fused is not None and fused.layer.node.op == "MatMul" and value not in levels:
            continue  # which gives numbers, not levels
        if value in graph.output_set or any(reader.name not in within for reader in graph.readers.get(value, ())):
            _add(work, "dequantized", value, dims_of)
    return work


def _add(work: dict[str, float], what: str, value: Value, dims_of: DimsOf) -> None:
    work[what] += 1
    work[f"{what} numbers"] += _thousands(value, dims_of)


def _thousands(value: Value, dims_of: DimsOf) -> float:
    return prod(dims_of(value) or ()) / 1e3
