"""Readers that do without some of their channels: what these added is told by those that are left.

    x_gone ~ x_left Z    so that    x W ~ x_left (W_left + Z W_gone)

with Z by least squares over the second moments of what the reader is given. Where a channel is another one times a
positive number, as behind a Relu when its weights are, nothing is lost. Source: Kim et al., Neuron Merging, 2020
(arXiv:2010.13160), in which Z has one entry a channel; Srinivas & Babu 2015 (arXiv:1507.06149).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Model
from tfopt.ir.linear import Linear, linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.channelwise.more_bias import add_to_bias
from tfopt.passes.needs.statistics import Moments, SecondMoments
from tfopt.passes.structure.coupling import Coupled, Coupling, Group
from tfopt.passes.structure.elimination import eliminated
from tfopt.passes.structure.systems import System, systems_of
from tfopt.passes.structure.ties import Axis

_Matrix = NDArray[np.float64]

#: Keeps weights where they were in directions in which nothing varies, as a share of the mean second moment.
_DAMPING = 1e-6
#: What correlates as closely as that is the same but for a factor.
_SAME = 1 - 1e-6
#: A bias that moves outputs by less than this share of what they vary is not worth an op.
_NO_SHIFT = 1e-5


@dataclass(eq=False)
class Readers:
    """All layers that sum over removable units, with what they are given; `gone` grows."""

    coupling: Coupling
    systems: Mapping[str, Sequence[System]]
    means: Mapping[str, _Matrix]
    gone: Axis = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(cls, coupling: Coupling, model: Model, moments: SecondMoments) -> Readers:
        source = _Remembering(moments)
        found: dict[str, list[System]] = {}
        for system in systems_of(coupling, model, source):
            if system.layer not in source.means:  # within a loop: its weights are not written
                continue
            found.setdefault(system.layer, []).append(system)
        return cls(coupling, found, source.means)

    def order(self, group: Group) -> tuple[Axis, NDArray[np.float64]] | str:
        """In which order its units are best merged into others, and how much of the readers' power that loses; or why
        they cannot be. Outputs of readers that are gone do not count: begin with the last group."""
        if group.products:
            return f"{group.products[0]} multiplies them with what is no constant"
        missing = next((layer.name for layer in group.readers if not self._is_known(layer)), None)
        if missing is not None:
            return f"nothing tells what {missing} is given"
        return eliminated(group.units, list(self._of(group)))

    def _is_known(self, reader: Coupled) -> bool:
        """A depthwise filter sums nothing up."""
        if len(reader.layer.out_axes) > 1:
            return True
        is_outside = reader.graph is self.coupling.graph
        return is_outside and any(reader.name in self._sharing(name) for name in self.systems)

    def _sharing(self, name: str) -> Collection[str]:
        """The layers that have the weight of this one, and read the same units."""
        layers = [layer for layer in self.coupling.layers if layer.graph is self.coupling.graph]
        one = next(layer for layer in layers if layer.name == name)
        return [
            each.name
            for each in layers
            if each.layer.weight is one.layer.weight and np.array_equal(each.read, one.read)
        ]

    def _of(self, group: Group) -> Iterator[System]:
        for name, systems in self.systems.items():
            if any(np.isin(system.units, group.units).any() for system in systems):
                made = np.split(self._layer(name).made, len(systems))
                for system, units in zip(systems, made, strict=True):
                    left = ~np.isin(units, self.gone)
                    if left.any():
                        yield replace(system, weight=system.weight[:, left])

    def _layer(self, name: str) -> Coupled:
        return next(layer for layer in self.coupling.layers if layer.name == name)

    def written(self, graph: Graph) -> Graph:
        """`graph` is the one without the units that are gone, its readers still without what these added."""
        editor = Editor(graph)
        for name, systems in self.systems.items():
            if any(np.isin(system.units, self.gone).any() for system in systems):
                weights = [_merged(system, self.gone) for system in systems]
                for layer in self._sharing(name):
                    self._write(graph, editor, layer, systems, weights)
        return editor.finish()

    def _write(
        self, graph: Graph, editor: Editor, name: str, systems: Sequence[System], weights: Sequence[_Matrix]
    ) -> None:
        layer = linear(graph, graph[name])
        assert isinstance(layer, Linear)
        made = np.split(~np.isin(self._layer(name).made, self.gone), len(systems))
        mean = self.means[name]
        parts, shifts = [], []
        for at, (system, weight) in enumerate(zip(systems, weights, strict=True)):
            left = ~np.isin(system.units, self.gone)
            parts.append(weight[:, made[at]])
            shifts.append((mean[at] @ system.weight - mean[at][left] @ weight)[made[at]])
        array = layer.from_matrices(np.stack(parts)).astype(layer.weight.array.dtype)
        held = graph.producer(layer.weight_value)
        if layer.weight_value not in graph.output_set and held.name not in graph.targets:
            editor.update(held.with_attrs(value=Tensor(array, layer.weight.dtype)))
        else:
            value = editor.constant(f"{name}/merged", array, layer.weight.dtype)
            inputs = (value if read == layer.weight_value else read for read in layer.node.inputs)
            editor.update(layer.node.with_inputs(*inputs))
        shift = np.concatenate(shifts)
        if np.square(shift).sum() > _NO_SHIFT**2 * sum(system.power for system in systems):
            add_to_bias(graph, editor, layer, shift)


def _merged(system: System, gone: Axis) -> _Matrix:
    """The weight of the elements that are left."""
    left = ~np.isin(system.units, gone)
    inner, across = system.second[np.ix_(left, left)], system.second[np.ix_(left, ~left)]
    weight, moved = system.weight[left].copy(), system.weight[~left].copy()
    _move_duplicates(weight, moved, inner, across, np.diag(system.second)[~left])
    held = inner + np.eye(len(inner)) * max(_DAMPING * float(np.diag(system.second).mean()), 1e-30)
    return np.asarray(weight + np.linalg.solve(held, across @ moved)) if moved.any() else weight


def _move_duplicates(weight: _Matrix, moved: _Matrix, inner: _Matrix, across: _Matrix, powers: _Matrix) -> None:
    """Add rows of `moved` whose element is one that is left times a number to the row of that, without rounding."""
    own = np.diag(inner)
    sizes = np.sqrt(np.maximum(own, 0.0))[:, None] * np.sqrt(np.maximum(powers, 0.0))
    alike = np.divide(across, sizes, out=np.zeros_like(across), where=sizes > 0)
    if not alike.size:
        return
    told_by = alike.argmax(axis=0)
    for at in np.flatnonzero(alike.max(axis=0) >= _SAME).tolist():
        by = told_by[at]
        weight[by] += across[by, at] / own[by] * moved[at]
        moved[at] = 0.0


class _Remembering:
    """Moments, of which the means are kept."""

    def __init__(self, moments: SecondMoments) -> None:
        self._moments = moments
        self.synthetic = moments.synthetic
        self.means: dict[str, _Matrix] = {}

    def moments(
        self, model: Model, layers: Sequence[Linear], *, aside: bool = False
    ) -> Iterator[tuple[Linear, Moments]]:
        for layer, seen in self._moments.moments(model, layers, aside=aside):
            self.means[layer.node.name] = seen.first
            yield layer, seen
