"""What a graph costs without some of its channels: multiply-adds and bytes, both products of the lengths of axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Node
from tfopt.ir.known_sizes import counted_dims
from tfopt.ir.rewrite import reachable
from tfopt.ir.types import Tensor
from tfopt.passes.structure.counted_macs import runs
from tfopt.passes.structure.ties import Axis, Labels
from tfopt.passes.structure.walk import Followed

_Entry: TypeAlias = "tuple[int, Sequence[Axis]]"


@dataclass(frozen=True, eq=False)
class Amounts:
    """Amounts, each the product of the lengths of some axes and of what does not change.

    `of` are those that belong to a node, by its graph and name.
    """

    entries: Sequence[_Entry]
    of: Mapping[tuple[Graph, str], int]

    def total(self, classes: Axis, gone: NDArray[np.int64] | None = None) -> int:
        """Their sum, without the units `gone`."""
        amounts, axes, of, starts, lengths = self._flat
        if gone is None or not len(axes):
            return round(float(amounts.sum()))
        stays = np.ones(len(classes), np.bool_)
        stays[gone] = False
        kept = np.add.reduceat(stays[classes[axes]], starts, dtype=np.int64) / lengths
        shares = np.ones(len(amounts))
        np.multiply.at(shares, of, kept)
        return round(float((amounts * shares).sum()))

    @cached_property
    def _flat(self) -> tuple[NDArray[np.float64], Axis, Axis, Axis, Axis]:
        """The amounts; the labels of all axes, and of each axis whose amount it is of, its first label, its length."""
        amounts = np.array([amount for amount, _ in self.entries], np.float64)
        axes = [(at, axis) for at, (_, factors) in enumerate(self.entries) for axis in factors]
        lengths = np.array([len(axis) for _, axis in axes], np.int64)
        labels = np.concatenate([axis for _, axis in axes]) if axes else np.empty(0, np.int64)
        return amounts, labels, np.array([at for at, _ in axes], np.int64), np.cumsum(lengths) - lengths, lengths


def macs_of(graph: Graph, followed: Mapping[Graph, Followed]) -> Amounts:
    """Multiply-adds of one call of the graph: of a function as often as it is called, where that is known."""
    entries: list[_Entry] = []
    of: dict[tuple[Graph, str], int] = {}
    times = runs(graph)
    needed = reachable(graph, {value.node for value in graph.outputs})
    for called, found in followed.items():
        dims = counted_dims(called)
        for product in found.products:
            if called is graph and product.node.name not in needed:
                continue
            amount = macs(called, product.node, dims) * times[called]
            entries.append((amount, product.factors))
            of[called, product.node.name] = amount
    return Amounts(entries, of)


def bytes_of(followed: Mapping[Graph, Followed]) -> Amounts:
    """Bytes of all constants, of one that several share once."""
    entries: dict[Tensor, _Entry] = {}
    for found in followed.values():
        for node in found.graph.by_op.get("Const", ()):
            axes = tuple(each for each in _labels(found, node) or () if each is not None)
            entries.setdefault(node.tensor, (node.tensor.nbytes, axes))
    return Amounts(list(entries.values()), {})


def _labels(found: Followed, node: Node) -> Labels:
    """Of a vector those of its first reader: others may lose other elements, but about as many."""
    return next(_uses(found, node), found.labels[node.value()])


def _uses(found: Followed, node: Node) -> Iterator[Labels]:
    for reader in found.graph.readers.get(node.value(), ()):
        for at, value in enumerate(reader.inputs):
            if value == node.value() and (reader.name, at) in found.uses:
                yield found.uses[reader.name, at]
