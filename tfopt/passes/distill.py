"""Teach a smaller model to answer as the original does."""

from __future__ import annotations

from pathlib import Path

from tfopt.ir.graph import Model
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.teaching import Aim, Augment, Loss, Plan, Teaching


@graph_pass(exact=False, gains=False)
def distill(
    model: Model,
    reference: Reference,
    teaching: Teaching,
    *,
    student: str | None = None,
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
    mixed_precision: bool = False,
    replicas: int = 1,
) -> ModelOutcome:
    """Train the model in hand on unlabelled samples until it answers as the original does.

        %y = MatMul(%x, %w)    ->    %y = MatMul(%x, %w), with a %w that was trained

    The student is the model as the steps before have left it, or one of the user's own (`student`, a SavedModel or a
    .keras file). Weights, biases and norms are trained; what was pruned stays zero, what lies on a grid lies on it in
    the end, tables of embeddings stay as they are. Of a classifier the scores before the softmax are compared at a
    `temperature`, else the outputs (`loss`); `hints_weight` compares values within the models too, at the ends of
    blocks or where `hints` say; `labels_weight`, from 0 to 1, is the share of --labels, if there are any.

    Training ends with the first of `steps`, `epochs` and `seconds` (2000 steps when none is given), or when `patience`
    evaluations in a row on samples kept from training brought nothing better; the best weights are taken. `checkpoint`
    is a directory from which a run that was killed goes on. `augment` moves and mirrors images, and mixes samples on
    request. `mixed_precision` computes in bfloat16 where the processor can; `replicas` share each batch. The same
    `seed` gives the same weights on the same machine, unless `seconds` ended it.
    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (arXiv:1503.02531).
    """
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
        mixed_precision=mixed_precision,
        replicas=replicas,
    )
    aim = Aim(loss=loss, temperature=temperature, hints=hints, hints_weight=hints_weight, labels_weight=labels_weight)
    if student is not None:
        own, said = teaching.student(student, reference.model)
        taught = teaching.teach(own, reference.model, plan, aim)
        return ModelOutcome(taught.model, (*said, *taught.findings))
    if model.graph is reference.model.graph:
        reason = "it is the original: put distill behind what makes it smaller, or name a student"
        return ModelOutcome(model, (Finding("training", False, reason),))
    taught = teaching.teach(model, reference.model, plan, aim)
    return ModelOutcome(taught.model, taught.findings)
