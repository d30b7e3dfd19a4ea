"""Set the smallest weights to zero."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tfopt.ir.graph import Model
from tfopt.ir.types import Tensor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.weights.held import HeldWeight, held_weights, with_tensors
from tfopt.passes.weights.mask_selection import MaskSelection, check_masks
from tfopt.passes.weights.sparsity import Mask, Matrix


@graph_pass(exact=False, checks=check_masks)
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
    how = MaskSelection.of(sparsity, scope, block, pattern)
    findings, chosen = [], []
    for weight in held_weights(model.graph):
        matrix = Matrix.of(weight.layer)
        reason = weight.reason_to_leave(exclude, depthwise) or how.reason_to_leave(matrix)
        if reason is None:
            chosen.append((weight, matrix))
        else:
            findings.append(Finding(weight.name, False, reason))
    pruned: dict[int, Tensor] = {}
    for (weight, _), mask in zip(chosen, how.masks([matrix for _, matrix in chosen]), strict=True):
        findings.append(_prune(pruned, weight, mask))
    return ModelOutcome(model.with_graph(with_tensors(model.graph, pruned)), tuple(findings))


def _prune(pruned: dict[int, Tensor], weight: HeldWeight, mask: Mask) -> Finding:
    array = weight.tensor.array
    if np.any(array[mask]):
        tensor = Tensor(np.where(mask, np.zeros((), array.dtype), array), weight.tensor.dtype)
        pruned[id(weight.tensor)] = tensor
        array = tensor.array
    zeros = array.size - int(np.count_nonzero(array))
    shared = f", shared by {len(weight.layers)} layers" if len(weight.layers) > 1 else ""
    message = f"{zeros:,} of {array.size:,} weights are zero ({zeros / max(1, array.size):.1%}){shared}"
    return Finding(weight.name, True, message)
