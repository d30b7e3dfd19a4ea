"""Turn what runs linearly from layers to layers so that few channels say most of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Model, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.structure.coupling import Coupled, Coupling, Group, couple
from tfopt.passes.structure.systems import System, by_unit, systems_of
from tfopt.passes.structure.ties import Labels

#: What may lie between the layers: it does to a sum of channels what it does to each.
_LINEAR: Final = frozenset({"Add", "AddN", "AddV2", "BiasAdd", "Identity"})
#: Turned by less than that, a stream lies as it should.
_STRAIGHT = 1e-3

_Matrix = NDArray[np.float64]


@graph_pass
def rotate_streams(model: Model, reference: Reference, moments: SecondMoments | None = None) -> ModelOutcome:
    """Turn the channels of a linear stream to its principal components, for `prune_channels` behind this step.

        %s = Conv2D(%x, %w) + Conv2D(%y, %v)         %s = Conv2D(%x, %w Q) + Conv2D(%y, %v Q)
        %z = Conv2D(%s, %u)                    ->    %z = Conv2D(%s, Q' %u)

    Between the layers that make a stream and those that read it there are only sums and biases: the narrow ends of
    inverted bottlenecks, as in MobileNetV2 and EfficientNet. Any rotation Q of its channels can be put into the weights
    on both sides, and nothing changes but rounding. This one makes channels that know nothing of each other, in the
    order of how much they vary; the last of them can go at little loss, where of the channels as they were each holds
    a part of everything. Without real samples nothing is done, nor behind a step that changed the outputs: `repair` and
    `distill` hold layers against those before that step, channel by channel.
    Source: computational invariance as in Ashkboos et al., SliceGPT, 2024 (arXiv:2401.15024), for convolutions.
    """
    if moments is None or moments.synthetic:
        return ModelOutcome(model, (Finding("all streams", False, "stay: there are no real samples"),))
    if reference.model.graph is not model.graph:
        return ModelOutcome(model, (Finding("all streams", False, "stay: a step before changed the outputs"),))
    coupling = couple(model.graph)
    reasons = {group: _reason(coupling, group) for group in coupling.groups}
    findings = [Finding(group.name, False, f"stays: {reason}") for group, reason in reasons.items() if reason]
    streams = [group for group, reason in reasons.items() if reason is None]
    seen = by_unit(systems_of(coupling, model, moments)) if streams else {}
    graph = model.graph
    for group in streams:
        if systems := seen.get(int(group.units[0]), ()):
            turn, told = _principal(group, systems)
            if np.abs(turn - np.eye(len(turn))).max() > _STRAIGHT:
                graph = _turned(coupling, graph, group, turn)
                findings.append(told)
    return ModelOutcome(model if graph is model.graph else model.with_graph(graph), tuple(findings))


def _reason(coupling: Coupling, group: Group) -> str | None:
    """Why a group is no linear stream."""
    coupled = (*group.makers, *group.readers)
    layers = {layer.layer.node for layer in coupled}
    if not group.readers or group.products or not all(_is_plain(coupling, layer) for layer in coupled):
        return "a layer of it is in a function, depthwise or in groups"
    for node, axes in _places(coupling, group):
        if node.op == "Const":
            continue
        if node not in layers and node.op not in _LINEAR:
            return f"{node.name} ({node.op}) is not linear"
        if any(axis != -1 for axis in axes):
            return f"{node.name} has its channels elsewhere"
    return None


def _is_plain(coupling: Coupling, layer: Coupled) -> bool:
    linear = layer.layer
    return layer.graph is coupling.graph and linear.groups == 1 and len(linear.out_axes) == 1 and linear.axis == -1


def _places(coupling: Coupling, group: Group) -> Iterator[tuple[Node, list[int]]]:
    """All nodes that make or read channels of the group, with their axis in what is made or read."""
    followed = coupling.followed[coupling.graph]
    for value, labels in followed.labels.items():
        axes = _axes(coupling, group, labels)
        if axes:
            yield coupling.graph[value.node], axes
            for reader in coupling.graph.readers.get(value, ()):
                yield reader, [] if coupling.graph[value.node].op == "Const" else axes
    for (name, _), labels in followed.uses.items():
        if _axes(coupling, group, labels):
            yield coupling.graph[name], []


def _axes(coupling: Coupling, group: Group, labels: Labels) -> list[int]:
    """Axes, from the last one on, that are the group's units; 0, which is none, for one that has them in another order
    or among others."""
    found = []
    for axis, each in enumerate(labels or ()):
        if each is not None:
            units = coupling.classes[each]
            if np.isin(units, group.units).any():
                found.append(axis - len(labels or ()) if np.array_equal(units, group.units) else 0)
    return found


def _principal(group: Group, systems: Sequence[System]) -> tuple[_Matrix, Finding]:
    """Principal components as columns, the strongest first, of what the readers see, to each of them as important."""
    width = len(group.units)
    together = np.zeros((width, width))
    for system in systems:
        blocks = [np.flatnonzero(system.units == unit) for unit in group.units.tolist()]
        places = np.stack(blocks)
        second = sum(system.second[np.ix_(tap, tap)] for tap in places.T)
        together += second / (np.trace(second) or 1.0)
    powers, turn = np.linalg.eigh(together)
    powers, turn = powers[::-1], turn[:, ::-1]
    turn = turn * np.where(turn[np.abs(turn).argmax(axis=0), np.arange(width)] < 0, -1.0, 1.0)
    most = int(np.searchsorted(np.cumsum(powers), 0.99 * powers.sum())) + 1
    message = f"turned: {most} of its {width} channels hold 99 % of how it varies"
    return turn, Finding(group.name, True, message)


def _turned(coupling: Coupling, graph: Graph, group: Group, turn: _Matrix) -> Graph:
    editor = Editor(graph)
    for value, axes in _constants(coupling, group).items():
        array = graph[value.node].tensor.array
        made = array.astype(np.float64)
        for axis in axes:
            made = np.moveaxis(np.tensordot(made, turn, (axis, 0)), -1, axis)
        tensor = Tensor(made.astype(array.dtype), graph[value.node].tensor.dtype)
        editor.update(graph[value.node].with_attrs(value=tensor))
    return editor.finish()


def _constants(coupling: Coupling, group: Group) -> Mapping[Value, list[int]]:
    followed, graph = coupling.followed[coupling.graph], coupling.graph
    found: dict[Value, list[int]] = {}
    for value, labels in followed.labels.items():
        if graph[value.node].op == "Const" and (axes := _axes(coupling, group, labels)):
            found[value] = axes
    for (name, at), labels in followed.uses.items():
        if axes := _axes(coupling, group, labels):
            found[graph[name].inputs[at]] = axes
    return found
