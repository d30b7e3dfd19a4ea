"""Set the smallest weights to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import Graph, Node
from tfopt.ir.linear import LINEAR, linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.base import Finding, Outcome, graph_pass


@graph_pass(exact=False)
def prune_magnitude(
    graph: Graph,
    *,
    sparsity: float = 0.5,
    scope: Literal["layer", "global"] = "layer",
    exclude: tuple[str, ...] = (),
    depthwise: bool = False,
) -> Graph | Outcome:
    """Set the weights of smallest magnitude in convolutions and matrix products to zero.

        %w = Const() {[1, -2, 3, -4]}    ->    %w = Const() {[0, 0, 3, -4]}

    `sparsity` is the share of zeros to reach, 0 <= sparsity < 1, in each layer or over all layers together
    (`scope`). `exclude` holds patterns (as in a shell) of layers or weights to leave as they are. Depthwise filters
    are a percent of a model's weights and hurt most, so they are left dense unless `depthwise` is set. Of equal
    magnitudes the first ones go. A weight that several layers share is pruned once; one that another op reads too
    (a tied embedding) is left. Raises InvalidRecipe for a sparsity out of range.
    Source: Han et al., Learning both Weights and Connections, 2015 (arXiv:1506.02626), without retraining; the
    global form as in Frankle & Carbin, 2019 (arXiv:1803.03635).
    """
    if not 0 <= sparsity < 1:
        raise InvalidRecipe(f"sparsity is {sparsity}", where="prune_magnitude", hint="give at least 0 and less than 1")
    weights = _weights(graph)
    findings, chosen = [], []
    for weight in weights:
        reason = _reason_to_leave(graph, weight, exclude, depthwise)
        if reason is None:
            chosen.append(weight)
        else:
            findings.append(Finding(weight.nodes[0].name, False, reason))
    masks = _masks([weight.tensor.array for weight in chosen], sparsity, scope == "global")
    editor = Editor(graph)
    for weight, mask in zip(chosen, masks, strict=True):
        findings.append(_prune(editor, weight, mask))
    return Outcome(editor.finish(), tuple(findings))


@dataclass(slots=True)
class _Weight:
    """One payload, the Const nodes that hold it and the layers that read it."""

    tensor: Tensor
    nodes: list[Node]
    layers: list[Node]


def _weights(graph: Graph) -> Sequence[_Weight]:
    found: dict[int, _Weight] = {}
    for node in graph.nodes:
        layer = linear(graph, node) if node.op in LINEAR else None
        if layer is None or isinstance(layer, str) or not layer.weight.dtype.is_floating:
            continue
        weight = found.setdefault(id(layer.weight), _Weight(layer.weight, [], []))
        holder = graph.producer(layer.weight_value)
        weight.layers.append(node)
        if holder not in weight.nodes:
            weight.nodes.append(holder)
    return list(found.values())


def _reason_to_leave(graph: Graph, weight: _Weight, exclude: tuple[str, ...], depthwise: bool) -> str | None:
    for node in (*weight.layers, *weight.nodes):
        for pattern in exclude:
            if fnmatchcase(node.name, pattern):
                return f"{node.name} is left out by {pattern!r}"
    for node in weight.nodes:
        others = [r for r in graph.readers.get(node.value(), ()) if r not in weight.layers]
        if others or node.value() in graph.output_set:
            return f"is read by {others[0].name} ({others[0].op}) too" if others else "is an output of the graph"
    if not depthwise and any(node.op == "DepthwiseConv2dNative" for node in weight.layers):
        return "is a depthwise filter, see the option depthwise"
    return None


def _masks(arrays: Sequence[NDArray[Any]], sparsity: float, together: bool) -> Sequence[NDArray[np.bool_]]:
    """For each array, which elements go."""
    magnitudes = [np.abs(array.reshape(-1)) for array in arrays]
    if together and magnitudes:
        ends = np.cumsum([m.size for m in magnitudes])
        flat = np.split(_smallest(np.concatenate(magnitudes), sparsity), ends[:-1])
    else:
        flat = [_smallest(magnitude, sparsity) for magnitude in magnitudes]
    return [mask.reshape(array.shape) for mask, array in zip(flat, arrays, strict=True)]


def _smallest(magnitude: NDArray[Any], share: float) -> NDArray[np.bool_]:
    count = round(share * magnitude.size)
    if count == 0:
        return np.zeros(magnitude.shape, np.bool_)
    threshold = np.partition(magnitude, count - 1)[count - 1]
    mask: NDArray[np.bool_] = magnitude < threshold
    ties = np.flatnonzero(magnitude == threshold)
    mask[ties[: count - int(np.count_nonzero(mask))]] = True
    return mask


def _prune(editor: Editor, weight: _Weight, mask: NDArray[np.bool_]) -> Finding:
    array = weight.tensor.array
    if np.any(array[mask]):
        pruned = Tensor(np.where(mask, np.zeros((), array.dtype), array), weight.tensor.dtype)
        for node in weight.nodes:
            editor.update(node.with_attrs(value=pruned))
        array = pruned.array
    zeros = array.size - int(np.count_nonzero(array))
    shared = f", shared by {len(weight.layers)} layers" if len(weight.layers) > 1 else ""
    message = f"{zeros:,} of {array.size:,} weights are zero ({zeros / max(1, array.size):.1%}){shared}"
    return Finding(weight.nodes[0].name, True, message)
