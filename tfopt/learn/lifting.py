"""Which constants of a model can be trained: the weights of its layers, biases, and what norms scale and shift by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.bodies import innermost_first
from tfopt.ir.frames import framed
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.grid import Grid
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.ir.types import DType, Tensor
from tfopt.passes.base import Finding

#: A weight with this share of zeros or more has been pruned, and what is zero there stays zero.
_SPARSE: Final = 0.05
_TABLES: Final = frozenset({"GatherV2", "Gather", "GatherNd"})
_SUMS: Final = frozenset({"Add", "AddV2", "Sub", "Mul"})
#: Inputs that hold what is trained, of ops that are no linear layers.
_SHIFTS: Final = {
    "BiasAdd": (1,),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), (1, 2)),
}


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant to train. `name` is that of the first Const that holds it, the functions it is in before it; every
    Const that shares the payload is this weight too.

    `layer` is the first linear layer that multiplies by it, if one does. `mask` says which elements may differ from
    zero, None when all may. `grid` is the one that the trained weight is put on.
    """

    name: str
    tensor: Tensor
    layer: Linear | None = None
    mask: NDArray[np.bool_] | None = None
    grid: Grid | None = None


@dataclass(frozen=True, eq=False)
class Trainable:
    """`left` says which weights stay as they are, and why."""

    weights: tuple[Weight, ...]
    left: tuple[Finding, ...]


@dataclass(slots=True)
class _Seen:
    """One payload. `reason` is why it cannot be trained."""

    tensor: Tensor
    name: str
    grid: Grid | None
    layer: Linear | None = None
    wanted: bool = False
    reason: str | None = None


def trainable(graph: Graph) -> Trainable:
    """Float32 constants that layers, biases and norms read, in the graph and in the functions of its control flow; one
    that something else reads too, such as a table of embeddings, is left."""
    seen: dict[int, _Seen] = {}

    def look(function: Graph, path: str) -> Graph:
        for at in _places(function, path):
            one = seen.setdefault(id(at.tensor), at)
            one.wanted |= at.wanted
            one.layer = one.layer or at.layer
            one.reason = one.reason or at.reason
            one.grid = one.grid or at.grid
        return function

    innermost_first(graph, look)
    wanted = [one for one in seen.values() if one.wanted]
    left = tuple(Finding(one.name, False, one.reason) for one in wanted if one.reason)
    return Trainable(tuple(_weight(one) for one in wanted if not one.reason), left)


def _weight(seen: _Seen) -> Weight:
    zero = seen.tensor.array == 0
    is_sparse = seen.layer is not None and zero.mean() >= _SPARSE
    return Weight(seen.name, seen.tensor, seen.layer, ~zero if is_sparse else None, seen.grid)


def _places(graph: Graph, path: str) -> Iterator[_Seen]:
    hidden = framed(graph)
    for node in graph.by_op.get("Const", ()):
        if node.tensor.dtype.is_floating and node.tensor.array.size:
            yield _seen(graph, node, path, node.name in hidden)


def _seen(graph: Graph, node: Node, path: str, hidden: bool) -> _Seen:
    value = node.value()
    seen = _Seen(node.tensor, f"{path}/{node.name}" if path else node.name, graph.grids.get(value))
    if hidden or value in graph.output_set or node.name in graph.targets:
        seen.reason = "stands in a loop or branch of TensorFlow 1" if hidden else "is what a caller reads"
    for reader in dict.fromkeys(graph.readers.get(value, ())):
        if _is_trained(reader, value, node.tensor):
            seen.wanted = True
            found = linear(graph, reader) if reader.op in LINEAR and reader.inputs[1] == value else ""
            seen.layer = seen.layer or (None if isinstance(found, str) else found)
        else:
            table = reader.op in _TABLES and reader.inputs[0] == value
            seen.wanted |= table
            seen.reason = seen.reason or (
                f"{reader.name} looks it up: a table is not trained" if table else f"is read by {reader.name} too"
            )
    if node.tensor.dtype is not DType.FLOAT32:
        seen.reason = seen.reason or f"is {node.tensor.dtype}, and float32 is trained"
    return seen


def _is_trained(reader: Node, value: Value, tensor: Tensor) -> bool:
    if reader.op in LINEAR or reader.op == "Einsum":
        return True
    places = [place for place, read in enumerate(reader.inputs) if read == value]
    if reader.op in _SHIFTS:
        return all(place in _SHIFTS[reader.op] for place in places)
    return reader.op in _SUMS and tensor.array.size > 1 and sum(dim > 1 for dim in tensor.array.shape) == 1
