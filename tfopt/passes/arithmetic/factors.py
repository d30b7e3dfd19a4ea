"""Products with single numbers: activations are written as such, in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tfopt.ir.graph import Graph, Node, Value

SUMS = frozenset({"Add", "AddV2"})


@dataclass(frozen=True, slots=True)
class Scaled:
    """`factor` times `base`, or the number `factor` where there is no base."""

    factor: float
    base: Value | None


def number(graph: Graph, value: Value) -> float | None:
    """The one floating number that a constant holds; None for everything else."""
    tensor = graph.constant(value)
    if tensor is None or value.node in graph.targets or not tensor.dtype.is_floating or tensor.array.size != 1:
        return None
    return float(tensor.array.reshape(())[()])


def scaled(graph: Graph, value: Value) -> Scaled:
    """`value` as a number times something, looked at through products, quotients and signs."""
    factor = 1.0
    while True:
        if (found := number(graph, value)) is not None:
            return Scaled(factor * found, None)
        step = _step(graph, graph.producer(value))
        if step is None:
            return Scaled(factor, value)
        factor, value = factor * step[0], step[1]


def _step(graph: Graph, node: Node) -> tuple[float, Value] | None:
    if node.controls:
        return None
    if node.op == "Neg":
        return -1.0, node.inputs[0]
    if node.op in ("RealDiv", "Div"):
        divisor = number(graph, node.inputs[1])
        return (1.0 / divisor, node.inputs[0]) if divisor else None
    if node.op == "Mul":
        for one, other in (node.inputs, node.inputs[::-1]):
            if (found := number(graph, one)) is not None:
                return found, other
    return None


def multiplied(graph: Graph, value: Value) -> Iterator[tuple[Node, Scaled]]:
    """The products that grow around `value`, each the only reader of the one before it, and what is multiplied by.

    The last one may be read by many.
    """
    factor, base = 1.0, None
    while len(graph.readers.get(value, ())) == 1 and value not in graph.output_set:
        (reader,) = graph.readers[value]
        other = _multiplies(graph, reader, value)
        if other is None or (base is not None and other.base is not None):
            return
        factor, base = factor * other.factor, base or other.base
        yield reader, Scaled(factor, base)
        value = reader.value()


def _multiplies(graph: Graph, node: Node, value: Value) -> Scaled | None:
    if node.controls or node.inputs.count(value) != 1:
        return None
    if node.op == "Mul":
        return scaled(graph, node.inputs[1 - node.inputs.index(value)])
    if node.op in ("RealDiv", "Div") and node.inputs[0] == value:
        divisor = number(graph, node.inputs[1])
        return Scaled(1.0 / divisor, None) if divisor else None
    return None


def plus(graph: Graph, node: Node) -> tuple[float, Value] | None:
    """What a sum adds to what, where one side is a number."""
    if node.op not in SUMS or node.controls:
        return None
    for one, other in (node.inputs, node.inputs[::-1]):
        if (found := number(graph, one)) is not None:
            return found, other
    return None


def reads_at(graph: Graph, value: Value, place: int, is_wanted: Callable[[Value], bool]) -> bool:
    """Is the input at this place of the sum or product `value` the wanted one? Where others read `value` too it may
    be either: equal nodes become one (merge_duplicates), and only one of them has its order."""
    inputs = graph.producer(value).inputs
    return is_wanted(inputs[place]) or (not graph.is_private(value) and any(map(is_wanted, inputs)))


def only_reader(graph: Graph, value: Value) -> Node | None:
    readers = graph.readers.get(value, ())
    return readers[0] if len(readers) == 1 and value not in graph.output_set else None


def close(graph: Graph, value: Value, found: float, wanted: float) -> bool:
    """Is it that number, as exactly as the dtype of `value` and one product of constants hold it?"""
    epsilon = np.finfo(np.float32).eps
    dtype = graph.type_of(value).dtype.value
    if dtype == "float16":
        epsilon = np.finfo(np.float16).eps
    elif dtype == "bfloat16":
        epsilon = np.float32(2.0**-7)
    return abs(found - wanted) <= 4 * float(epsilon) * abs(wanted)
