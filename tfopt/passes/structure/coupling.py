"""Groups of channels that can be removed one by one, with the layers that make and read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import UsageError
from tfopt.ir.bodies import graphs
from tfopt.ir.graph import Graph
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.passes.structure.rules import RULES
from tfopt.passes.structure.ties import Axis, Solved
from tfopt.passes.structure.walk import Followed, Product, Walk
from tfopt.passes.structure.work import Amounts, bytes_of, macs_of


@dataclass(frozen=True, eq=False)
class Coupled:
    """A linear layer: `made` and `read` have the unit of each of its output and input channels, -1 where it is none
    that can be removed. `macs` are its multiply-adds in one call, those of a layer in a loop as often as that runs."""

    graph: Graph
    layer: Linear
    made: Axis
    read: Axis
    macs: int

    @property
    def name(self) -> str:
        return self.layer.node.name

    def share_without(self, gone: NDArray[np.int64]) -> float:
        """Of its multiply-adds. A depthwise filter has one input channel for each that it makes."""
        made = _left(self.made, gone)
        return made if len(self.layer.out_axes) > 1 else made * _left(self.read, gone)


@dataclass(frozen=True, eq=False)
class Group:
    """Units that are made and read by the same layers, at the same places: the channels of one width.

    `name` is that of the first layer that makes them. Several output channels of one layer may be one unit, as the
    gates of an LSTM are, and several input channels, as behind a Flatten. `products` name the nodes that sum over the
    units and are no layer, since what they multiply them with is no constant: queries and keys of attention have only
    these, and no readers.
    """

    name: str
    units: NDArray[np.int64]
    makers: tuple[Coupled, ...]
    readers: tuple[Coupled, ...]
    products: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Coupling:
    """What `couple` found. `reasons` says of layers, by name, why their output channels stay."""

    graph: Graph
    groups: tuple[Group, ...]
    layers: tuple[Coupled, ...]
    reasons: Mapping[str, str]
    followed: Mapping[Graph, Followed]
    classes: Axis

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of one call of all outputs, as the ledger counts them."""
        return self._macs.total(self.classes)

    def macs_without(self, gone: NDArray[np.int64]) -> int:
        """How many of them are left without these units."""
        return self._macs.total(self.classes, gone)

    @cached_property
    def bytes(self) -> int:
        """Of all constants, each shared tensor once."""
        return self._bytes.total(self.classes)

    def bytes_without(self, gone: NDArray[np.int64]) -> int:
        """How many of them are left without these units."""
        return self._bytes.total(self.classes, gone)

    @cached_property
    def _macs(self) -> Amounts:
        return macs_of(self.graph, self.followed)

    @cached_property
    def _bytes(self) -> Amounts:
        return bytes_of(self.followed)


def couple(graph: Graph, *, heads: bool = False) -> Coupling:
    """Follow the channels of a graph through all its ops and functions.

    Where attention parts channels into heads, a unit is one place in all of them; with `heads` it is a head. Raises
    UsageError for a graph that is quantized: its grids are those of the channels that it has.
    """
    if any(found.grids for found in graphs(graph)):
        raise UsageError(
            "the model is quantized, and what is rounded cannot lose channels any more",
            hint="put quantize behind the steps that change its structure, or start from the model before it",
        )
    walk = Walk(RULES, heads=heads)
    walk.top(graph)
    solved = walk.ties.solve()
    units = _Units(solved, walk.followed)
    layers = tuple(units.layers(macs_of(graph, walk.followed)))
    groups = tuple(units.groups(layers))
    reasons = dict(units.reasons(layers, groups))
    return Coupling(graph, groups, layers, reasons, walk.followed, solved.classes)


class _Units:
    """Which units there are, where they are and why some of them stay."""

    def __init__(self, solved: Solved, followed: Mapping[Graph, Followed]) -> None:
        self._solved = solved
        self._followed = followed
        self._stays = np.zeros(len(solved.classes), np.bool_)
        self._stays[np.array(list(solved.reasons), np.int64)] = True

    def layers(self, costs: Amounts) -> Iterator[Coupled]:
        for graph, found in self._followed.items():
            for node in graph.nodes:
                layer = linear(graph, node) if node.op in LINEAR else None
                if isinstance(layer, Linear) and (weight := found.labels.get(layer.weight_value)) is not None:
                    made = self._of(self._made(found, layer), layer.channels)
                    read = self._of(weight[layer.in_axis], layer.in_channels)
                    yield Coupled(graph, layer, made, read, costs.of.get((graph, node.name), 0))

    def _made(self, found: Followed, layer: Linear) -> Axis | None:
        labels = found.labels[layer.node.value()]
        return None if labels is None else labels[layer.axis if layer.node.op not in _PRODUCTS else -1]

    def _of(self, labels: Axis | None, count: int) -> Axis:
        if labels is None:
            return np.full(count, -1, np.int64)
        if len(labels) != count:  # of a convolution in groups, each reads the same places of its own channels
            labels = np.tile(labels, count // len(labels))
        units = self._solved.classes[labels]
        return np.where(self._stays[units], -1, units)

    def groups(self, layers: Sequence[Coupled]) -> Iterator[Group]:
        """Units at the same places of the same values are one group. One alone could not be removed."""
        makes, reads = (_by_unit(layers, side) for side in ("made", "read"))
        sums = self._sums(layers)
        places = self._places()
        alike: dict[tuple[object, ...], list[int]] = {}
        for unit in makes:
            if unit in reads or unit in sums:
                key = (places[unit], *makes[unit], None, *reads.get(unit, ()), None, *sums.get(unit, ()))
                alike.setdefault(key, []).append(unit)
        for units in alike.values():
            if len(units) > 1:
                first = units[0]
                makers, readers = (tuple(layers[at] for at in found.get(first, ())) for found in (makes, reads))
                yield Group(
                    makers[0].name, np.array(sorted(units), np.int64), makers, readers, tuple(sums.get(first, ()))
                )

    def _sums(self, layers: Sequence[Coupled]) -> dict[int, list[str]]:
        """By unit, the names of products over it that are no layers."""
        of_layers = {layer.layer.node for layer in layers}
        found: dict[int, list[str]] = {}
        for product in self._products():
            for labels in product.summed if product.node not in of_layers else ():
                for unit in np.unique(self._solved.classes[labels]).tolist():
                    found.setdefault(unit, []).append(product.node.name)
        return found

    def _products(self) -> Iterator[Product]:
        for found in self._followed.values():
            yield from found.products

    def _places(self) -> NDArray[np.int64]:
        """By unit, a number for where it is: the sum of numbers drawn for each axis of each value that has it."""
        drawn = np.random.default_rng(0)
        places = np.zeros(len(self._solved.classes), np.int64)
        for found in self._followed.values():
            for labels in (*found.labels.values(), *found.uses.values()):
                for axis in labels or ():
                    if axis is not None:
                        places[np.unique(self._solved.classes[axis])] += drawn.integers(1 << 62)
        return places

    def reasons(self, layers: Sequence[Coupled], groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
        removable = np.zeros(len(self._solved.classes), np.bool_)
        for group in groups:
            removable[group.units] = True
        for layer in layers:
            if not removable[layer.made[layer.made >= 0]].any():
                yield layer.name, self._reason(layer)
        for graph in self._followed:
            for node in (node for op in LINEAR - _OF_ACTIVATIONS for node in graph.by_op.get(op, ())):
                if isinstance(reason := linear(graph, node), str):
                    yield node.name, reason

    def _reason(self, layer: Coupled) -> str:
        labels = self._made(self._followed[layer.graph], layer.layer)
        if labels is None:
            return "it has one output channel, or how many is not known"
        units = self._solved.classes[labels].tolist()
        reasons = (self._solved.reasons[unit] for unit in units if unit in self._solved.reasons)
        alone = "its channels stand or fall together" if len(set(units)) == 1 else "no layer reads them"
        return next(reasons, alone)


_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2"})
#: What these multiply is often no constant, and then no layer either.
_OF_ACTIVATIONS = frozenset({"BatchMatMul", "BatchMatMulV2"})


def _by_unit(layers: Sequence[Coupled], side: str) -> dict[int, list[int]]:
    """Which layers make or read a unit, in their order."""
    found: dict[int, list[int]] = {}
    for at, layer in enumerate(layers):
        for unit in np.unique(getattr(layer, side)).tolist():
            if unit >= 0:
                found.setdefault(unit, []).append(at)
    return found


def _left(units: Axis, gone: NDArray[np.int64]) -> float:
    return 1.0 - float(np.isin(units, gone).mean()) if units.size else 1.0
