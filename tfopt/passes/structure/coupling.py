"""Groups of channels that can be removed one by one, with the layers that make and read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Value
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.passes.structure.rules import RULES
from tfopt.passes.structure.ties import Axis
from tfopt.passes.structure.walk import Followed, Walk


@dataclass(frozen=True, eq=False)
class Coupled:
    """A linear layer: `made` and `read` have the unit of each of its output and input channels, -1 where it is none
    that can be removed."""

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
    gates of an LSTM are, and several input channels, as behind a Flatten.
    """

    name: str
    units: NDArray[np.int64]
    makers: tuple[Coupled, ...]
    readers: tuple[Coupled, ...]


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
        return sum(layer.macs for layer in self.layers)

    def macs_without(self, gone: NDArray[np.int64]) -> int:
        """About how many multiply-adds are left without these units; exactly, where no channel is a constant one."""
        return sum(round(layer.macs * layer.share_without(gone)) for layer in self.layers)


def couple(graph: Graph) -> Coupling:
    """Follow the channels of a graph through all its ops and functions."""
    walk = Walk(RULES)
    walk.top(graph)
    solved = walk.ties.solve()
    units = _Units(solved.classes, np.array(sorted(solved.reasons), np.int64), walk.followed)
    layers = tuple(units.layers())
    groups = tuple(_groups(layers, walk.followed, solved.classes))
    removable = np.concatenate([group.units for group in groups]) if groups else np.empty(0, np.int64)
    reasons = {
        layer.name: units.reason(layer, solved.reasons) for layer in layers if not np.isin(layer.made, removable).any()
    }
    return Coupling(graph, groups, layers, reasons, walk.followed, solved.classes)


class _Units:
    def __init__(self, classes: Axis, fixed: Axis, followed: Mapping[Graph, Followed]) -> None:
        self._classes = classes
        self._fixed = fixed
        self._followed = followed

    def layers(self) -> Iterator[Coupled]:
        for graph, found in self._followed.items():
            for node in graph.nodes:
                layer = linear(graph, node) if node.op in LINEAR else None
                if isinstance(layer, Linear):
                    labels = found.labels.get(layer.weight_value)
                    if labels is not None:
                        made, read = self._made(found, layer), self._of(labels[layer.in_axis], layer.in_channels)
                        yield Coupled(graph, layer, made, read, macs(graph, node))

    def _made(self, found: Followed, layer: Linear) -> Axis:
        value = layer.node.value()
        labels = found.labels[value]
        axis = layer.axis if layer.node.op not in _PRODUCTS else -1
        return self._of(None if labels is None else labels[axis], layer.channels)

    def _of(self, labels: Axis | None, count: int) -> Axis:
        if labels is None:
            return np.full(count, -1, np.int64)
        if len(labels) != count:  # of a convolution in groups, each reads the same places of its own channels
            labels = np.tile(labels, count // len(labels))
        units = self._classes[labels]
        return np.where(np.isin(units, self._fixed), -1, units)

    def reason(self, layer: Coupled, reasons: Mapping[int, str]) -> str:
        labels = self._followed[layer.graph].labels[layer.layer.node.value()]
        axis = layer.layer.axis if layer.layer.node.op not in _PRODUCTS else -1
        found = None if labels is None else labels[axis]
        if found is None:
            return "it has one output channel, or how many is not known"
        for unit in self._classes[found].tolist():
            if unit in reasons:
                return reasons[unit]
        return "no layer reads them"


_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2"})


def _groups(layers: Sequence[Coupled], followed: Mapping[Graph, Followed], classes: Axis) -> Iterator[Group]:
    """Units with the same places in the same constants are one group."""
    places: dict[int, list[tuple[int, Value, int]]] = {}
    for number, (graph, found) in enumerate(followed.items()):
        for node in graph.by_op.get("Const", ()):
            for axis, labels in enumerate(found.labels.get(node.value()) or ()):
                if labels is not None:
                    for unit in np.unique(classes[labels]).tolist():
                        places.setdefault(unit, []).append((number, node.value(), axis))
    alike: dict[tuple[tuple[int, Value, int], ...], list[int]] = {}
    makes, reads = (_by_unit(layers, side) for side in ("made", "read"))
    for unit in makes:
        if unit in reads:
            alike.setdefault(tuple(places[unit]), []).append(unit)
    for units in alike.values():
        makers, readers = (tuple(layers[at] for at in found[units[0]]) for found in (makes, reads))
        yield Group(makers[0].name, np.array(sorted(units), np.int64), makers, readers)


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
