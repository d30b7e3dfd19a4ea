"""Set more and more of the smallest weights to zero while the model is taught by the original."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import Model
from tfopt.ir.types import DType
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.teaching import Aim, Augment, Loss, Plan, Taught, Teaching
from tfopt.passes.weights.gradual_pruning import GradualPruning, Growth
from tfopt.passes.weights.held import HeldWeight, held_weights
from tfopt.passes.weights.mask_selection import MaskSelection, check_masks
from tfopt.passes.weights.sparsity import Matrix

_TOO_SHORT = Finding(
    "pruning", False, "the training ended before all zeros were in place, so that none are: give it more time"
)


def _check(sparsity: float | None, scope: str | None, block: str, pattern: str | None, until: float) -> None:
    if not 0 <= until < 1:
        raise InvalidRecipe(f"until is {until}", hint="give at least 0 and less than 1")
    check_masks(sparsity, scope, block, pattern)


@graph_pass(exact=False, checks=_check)
def fine_tune(
    model: Model,
    reference: Reference,
    teaching: Teaching,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
    block: str = "1x1",
    scope: Literal["layer", "global"] | None = None,
    schedule: Growth = "polynomial",
    until: float = 0.4,
    exclude: tuple[str, ...] = (),
    depthwise: bool = False,
    steps: int | None = None,
    epochs: float | None = None,
    seconds: float | None = None,
    batch_size: int = 64,
    learning_rate: float = 0.002,
    seed: int = 0,
    loss: Loss = "auto",
    temperature: float = 2.0,
    hints: tuple[str, ...] = (),
    hints_weight: float = 0.0,
    labels_weight: float = 0.0,
    augment: Augment = "auto",
    patience: int | None = 6,
    checkpoint: str | None = None,
    replicas: int = 1,
) -> ModelOutcome:
    """Train the model on unlabelled samples to answer as the original does, while more and more weights become zero.

        %w = Const() {[1, -2, 3, -4]}    ->    %w = Const() {[0, 0, 3.1, -4.2]}

    `sparsity` (0.5 unless given), `pattern`, `block`, `scope`, `exclude` and `depthwise` say which weights go, as in
    prune_magnitude, but by their magnitude as trained so far, so that one that was set to zero may come back, and over
    all layers together unless `scope` says otherwise: each weight counts as a share of those of its layer that are as
    large or larger. With the `polynomial` schedule the share of zeros grows from none, or from those of a model that
    was pruned before, first fast and then slowly; `until` is the share of the training after which it stays. With
    `constant` all go at once. What is pruned for a pattern goes in the same way, the smallest first.

    The rest is as in `distill`: training ends with the first of `steps`, `epochs` and `seconds`, or when `patience`
    evaluations with all zeros in place brought nothing better; the best weights since then are taken. Where the clock
    ended it before the zeros were in place, nothing is changed. Raises InvalidRecipe for options out of range.
    Source: Zhu & Gupta, To prune, or not to prune, 2017 (arXiv:1710.01878); N:M as in Mishra et al., 2021
    (arXiv:2104.08378); layers beside each other as in Lee et al., 2021 (arXiv:2010.07611); taught as in Hinton et al.,
    2015 (arXiv:1503.02531).
    """
    selection = MaskSelection.of(sparsity, scope, block, pattern)
    findings: list[Finding] = []
    layouts: dict[str, Matrix] = {}
    for weight in held_weights(model.graph):
        matrix = Matrix.of(weight.layer)
        reason = weight.reason_to_leave(exclude, depthwise) or selection.reason_to_leave(matrix) or _untrained(weight)
        if reason is None:
            layouts[weight.name] = matrix
        else:
            findings.append(Finding(weight.name, False, reason))
    if not layouts:
        return ModelOutcome(model, tuple(findings))
    plan = Plan(
        steps=steps,
        epochs=epochs,
        seconds=seconds,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        augment=augment,
        patience=patience,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        replicas=replicas,
    )
    aim = Aim(loss=loss, temperature=temperature, hints=hints, hints_weight=hints_weight, labels_weight=labels_weight)
    growing = GradualPruning(selection, layouts, schedule, _begun(selection, layouts), until)
    taught = teaching.teach(model, reference.model, plan, aim, growing)
    told = _zeros(taught, layouts) if taught.model is not model else (_TOO_SHORT,)
    return ModelOutcome(taught.model, (*findings, *told, *taught.findings))


def _untrained(weight: HeldWeight) -> str | None:
    dtype = weight.tensor.dtype
    return None if dtype is DType.FLOAT32 else f"is {dtype}, and float32 is trained"


def _begun(selection: MaskSelection, layouts: dict[str, Matrix]) -> float:
    """How much of the way a model that was pruned before has gone."""
    zeros = sum(int(np.count_nonzero(matrix.values == 0)) for matrix in layouts.values())
    size = sum(matrix.values.size for matrix in layouts.values())
    share = selection.share if selection.pattern is None else 1 - selection.pattern[0] / selection.pattern[1]
    return min(1.0, zeros / (size * share)) if size * share else 1.0


def _zeros(taught: Taught, layouts: dict[str, Matrix]) -> tuple[Finding, ...]:
    return tuple(_told(weight) for weight in held_weights(taught.model.graph) if weight.name in layouts)


def _told(weight: HeldWeight) -> Finding:
    array = weight.tensor.array
    zeros = array.size - int(np.count_nonzero(array))
    return Finding(weight.name, True, f"{zeros:,} of {array.size:,} weights are zero ({zeros / array.size:.1%})")
