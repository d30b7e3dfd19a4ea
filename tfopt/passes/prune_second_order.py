"""Set those weights to zero that the others can best make up for."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tfopt.ir.graph import Graph, Model
from tfopt.ir.types import DType, Tensor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.weights.held import HeldWeight, held_weights, with_tensors
from tfopt.passes.weights.mask_selection import MaskSelection, check_masks
from tfopt.passes.weights.second_order import pruned, reads
from tfopt.passes.weights.sparsity import Matrix

#: Layers whose rows `SecondMoments` knows.
_SHOWN = frozenset({"Conv2D", "DepthwiseConv2dNative", "MatMul"})


@graph_pass(exact=False, checks=check_masks)
def prune_second_order(
    model: Model,
    moments: SecondMoments,
    *,
    sparsity: float | None = None,
    scope: Literal["layer", "global"] | None = None,
    block: str = "1x1",
    pattern: str | None = None,
    exclude: tuple[str, ...] = (),
    depthwise: bool = False,
) -> ModelOutcome:
    """Set those weights to zero that the others of their layer can best make up for, and let these do so.

        %w = Const() {[1, -2, 3, -4]}    ->    %w = Const() {[0, -1.6, 0, -4.3]}

    Samples show what each layer reads, and so how much more its output is off when a weight goes and the weights that
    are left are solved for anew: neither the smallest ones go, nor as many from every layer. It is done in rounds, and
    what is left is solved for after each. Options are those of `prune_magnitude`, but that the share is one over all
    layers together unless `scope` says otherwise: what a layer loses counts as a share of what it makes. Layers that no
    samples show, such as those within loops, and weights that several layers share, stay as they are.
    A `repair` behind it fits the layers to each other. Raises InvalidRecipe for options out of range, or that do not go
    together.
    Source: Optimal Brain Surgeon, Hassibi & Stork 1992, layer by layer as in Frantar & Alistarh 2022
    (arXiv:2208.11580), in rounds instead of weight by weight.
    """
    how = MaskSelection.of(sparsity, scope, block, pattern)
    findings: list[Finding] = []
    chosen: dict[str, HeldWeight] = {}
    for weight in held_weights(model.graph):
        reason = weight.reason_to_leave(exclude, depthwise) or how.reason_to_leave(Matrix.of(weight.layer))
        reason = reason or _reason_to_leave(model.graph, weight)
        if reason is None:
            chosen[weight.layer.node.name] = weight
        else:
            findings.append(Finding(weight.name, False, reason))
    found = reads(model, [weight.layer for weight in chosen.values()], moments)
    reached = {each.layer.node.name for each in found}
    findings += [
        Finding(chosen[name].name, False, "no sample reaches its layer") for name in chosen if name not in reached
    ]
    tensors: dict[int, Tensor] = {}
    for each, (array, mask) in zip(found, pruned(found, how.masks), strict=True):
        weight = chosen[each.layer.node.name]
        left = np.where(mask, 0, array).astype(weight.tensor.array.dtype)
        if np.any(weight.tensor.array[mask]):
            tensors[id(weight.tensor)] = Tensor(left, weight.tensor.dtype)
        share = float(mask.mean())
        findings.append(
            Finding(weight.name, True, f"{int(mask.sum()):,} of {mask.size:,} weights are zero ({share:.1%})")
        )
    return ModelOutcome(model.with_graph(with_tensors(model.graph, tensors)), tuple(findings))


def _reason_to_leave(graph: Graph, weight: HeldWeight) -> str | None:
    layer, place = weight.layer, weight.layers[0]
    if len(weight.layers) > 1:
        return f"is shared by {len(weight.layers)} layers"
    if place.graph is not graph:
        return "is read within a loop or branch, where no samples are seen"
    if layer.node.op not in _SHOWN or layer.axis != -1 or layer.node.attrs.get("transpose_a"):
        return f"what a {layer.node.op} like this reads is not looked at"
    return None if layer.weight.dtype is DType.FLOAT32 else f"is {layer.weight.dtype}"
