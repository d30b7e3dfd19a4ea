"""Set the smallest weights to zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

import numpy as np

from tfopt.errors import InvalidRecipe
from tfopt.ir.bodies import innermost_first
from tfopt.ir.graph import Graph, Model, Node
from tfopt.ir.linear import LINEAR, linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.sparsity import Mask, Matrix, mask_of_every, masks, parse_block, parse_pattern

#: The share of zeros when neither a share nor a pattern is given.
_SPARSITY = 0.5


@graph_pass(exact=False)
def prune_magnitude(
    model: Model,
    *,
    sparsity: float | None = None,
    scope: Literal["layer", "global"] = "layer",
    block: str = "1x1",
    pattern: str | None = None,
    exclude: tuple[str, ...] = (),
    depthwise: bool = False,
) -> ModelOutcome:
    """Set the weights of smallest magnitude in convolutions and matrix products to zero.

        %w = Const() {[1, -2, 3, -4]}    ->    %w = Const() {[0, 0, 3, -4]}

    `sparsity` is the share of zeros to reach, 0 <= sparsity < 1 (0.5 unless given), in each layer or over all layers
    together (`scope`). With `block`, such as 4x1 (inputs by output channels), whole blocks go, ranked by their mean
    magnitude. `pattern`, such as 2:4, keeps two of every four inputs in a row of each output channel instead; it sets
    the share by itself. `exclude` holds patterns (as in a shell) of layers or weights to leave as they are. Depthwise
    filters are a percent of a model's weights and hurt most, so they are left dense unless `depthwise` is set. Of equal
    magnitudes the first ones go. Layers in loops and branches count as all others. A weight that several layers share
    is pruned once and stays one; one that another op reads too (a tied embedding) is left. Raises InvalidRecipe for
    options out of range, or that do not go together.
    Source: Han et al., Learning both Weights and Connections, 2015 (arXiv:1506.02626), without retraining; the
    global form as in Frankle & Carbin, 2019 (arXiv:1803.03635); N:M as in Mishra et al., 2021 (arXiv:2104.08378).
    """
    how = _How.of(sparsity, scope, block, pattern)
    findings, chosen = [], []
    for weight in _weights(model.graph):
        reason = _reason_to_leave(weight, exclude, depthwise) or how.reason_to_leave(weight.matrix)
        if reason is None:
            chosen.append(weight)
        else:
            findings.append(Finding(weight.name, False, reason))
    pruned: dict[int, Tensor] = {}
    for weight, mask in zip(chosen, how.masks([weight.matrix for weight in chosen]), strict=True):
        findings.append(_prune(pruned, weight, mask))
    return ModelOutcome(model.with_graph(_with_tensors(model.graph, pruned)), tuple(findings))


@dataclass(frozen=True, slots=True)
class _How:
    """The options of one run, checked."""

    share: float
    together: bool
    block: tuple[int, int]
    pattern: tuple[int, int] | None

    @classmethod
    def of(cls, sparsity: float | None, scope: str, block: str, pattern: str | None) -> _How:
        if sparsity is not None and not 0 <= sparsity < 1:
            hint = "give at least 0 and less than 1"
            raise InvalidRecipe(f"sparsity is {sparsity}", where="prune_magnitude", hint=hint)
        kept = parse_pattern(pattern) if pattern is not None else None
        if kept is not None and (sparsity is not None or block != "1x1" or scope != "layer"):
            what = f"the pattern {pattern} says by itself which weights go"
            raise InvalidRecipe(what, where="prune_magnitude", hint="leave out sparsity, scope and block")
        return cls(_SPARSITY if sparsity is None else sparsity, scope == "global", parse_block(block), kept)

    def reason_to_leave(self, matrix: Matrix) -> str | None:
        if self.pattern is not None and matrix.in_channels % self.pattern[1]:
            return f"{matrix.in_channels} input channel(s) are no multiple of {self.pattern[1]}"
        return None

    def masks(self, matrices: Sequence[Matrix]) -> list[Mask]:
        if self.pattern is not None:
            return [mask_of_every(matrix, *self.pattern) for matrix in matrices]
        return masks(matrices, self.share, self.block, self.together)


class _Place(NamedTuple):
    """A node of a graph, and what it is called from outside of the functions that it is in."""

    graph: Graph
    node: Node
    name: str


@dataclass(slots=True)
class _Weight:
    """One payload, the Const nodes that hold it and the layers that read it, in whatever functions they are."""

    tensor: Tensor
    matrix: Matrix
    holders: list[_Place]
    layers: list[_Place]

    @property
    def name(self) -> str:
        return self.holders[0].name


def _weights(graph: Graph) -> Sequence[_Weight]:
    places = list(_places(graph))
    found: dict[int, _Weight] = {}
    for place in places:
        layer = linear(place.graph, place.node) if place.node.op in LINEAR else None
        if layer is None or isinstance(layer, str) or not layer.weight.dtype.is_floating:
            continue
        weight = found.setdefault(id(layer.weight), _Weight(layer.weight, Matrix.of(layer), [], []))
        weight.layers.append(place)
    for place in places:
        if place.node.op == "Const" and id(place.node.tensor) in found:
            found[id(place.node.tensor)].holders.append(place)
    return list(found.values())


def _places(graph: Graph) -> Sequence[_Place]:
    found: list[_Place] = []

    def look(function: Graph, path: str) -> Graph:
        found.extend(_Place(function, node, f"{path}/{node.name}" if path else node.name) for node in function.nodes)
        return function

    innermost_first(graph, look)
    return found


def _reason_to_leave(weight: _Weight, exclude: tuple[str, ...], depthwise: bool) -> str | None:
    for place in (*weight.layers, *weight.holders):
        for pattern in exclude:
            if fnmatchcase(place.name, pattern) or fnmatchcase(place.node.name, pattern):
                return f"{place.name} is left out by {pattern!r}"
    layers = {id(place.node) for place in weight.layers}
    for graph, node, _ in weight.holders:
        others = [reader for reader in graph.readers.get(node.value(), ()) if id(reader) not in layers]
        if others or node.value() in graph.output_set:
            return f"is read by {others[0].name} ({others[0].op}) too" if others else "is an output of the graph"
    if not depthwise and any(place.node.op == "DepthwiseConv2dNative" for place in weight.layers):
        return "is a depthwise filter, see the option depthwise"
    return None


def _prune(pruned: dict[int, Tensor], weight: _Weight, mask: Mask) -> Finding:
    array = weight.tensor.array
    if np.any(array[mask]):
        tensor = Tensor(np.where(mask, np.zeros((), array.dtype), array), weight.tensor.dtype)
        pruned[id(weight.tensor)] = tensor
        array = tensor.array
    zeros = array.size - int(np.count_nonzero(array))
    shared = f", shared by {len(weight.layers)} layers" if len(weight.layers) > 1 else ""
    message = f"{zeros:,} of {array.size:,} weights are zero ({zeros / max(1, array.size):.1%}){shared}"
    return Finding(weight.name, True, message)


def _with_tensors(graph: Graph, tensors: Mapping[int, Tensor]) -> Graph:
    """The graph, and every function in it, with tensors in the place of others, which are known by their id."""

    def change(function: Graph, _: str) -> Graph:
        editor = Editor(function)
        for node in function.by_op.get("Const", ()):
            if id(node.tensor) in tensors:
                editor.update(node.with_attrs(value=tensors[id(node.tensor)]))
        return editor.finish()

    return innermost_first(graph, change)
