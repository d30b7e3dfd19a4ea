"""Run a recipe's steps over a model: verify between them, repeat to a fixpoint, keep the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel, TfoptError, UsageError
from tfopt.ir.graph import Model
from tfopt.ir.verify import verify_model
from tfopt.ledger import NOT_RUN, LedgerRow, Scales
from tfopt.passes.base import Finding, TargetRequest
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.trials import Trials
from tfopt.recipe import Recipe, RecipeStep, Repeat, UntilMet

#: Outputs by signature, then by output name.
Outputs: TypeAlias = "Mapping[str, Mapping[str, NDArray[Any]]]"
#: Runs a model on the probe samples.
Probe: TypeAlias = Callable[[Model], Outputs]
Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Speed:
    """How a model's time compares to another's: `is_faster` is None where the measurement leaves that open."""

    is_faster: bool | None
    text: str


#: Times the second model against the first.
Race: TypeAlias = Callable[[Model, Model], Speed]

#: By less than this share nothing became smaller.
_SMALLER = 0.01
#: A fixpoint that is not reached by then is two passes undoing each other.
MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Requested:
    """An artifact that the recipe asks for, the model as it stood then, and whether every step before was exact."""

    request: TargetRequest
    model: Model
    exact: bool


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """The model after the last step; `exact` when no lossy pass changed it."""

    model: Model
    exact: bool
    requested: tuple[Requested, ...]
    ledger: tuple[LedgerRow, ...]


@dataclass(slots=True)
class _Run:
    """What changes while a recipe runs."""

    model: Model
    probe: Probe | None
    tell: Tell
    supply: Mapping[type, Any]
    before_loss: Reference
    race: Race | None = None
    strict: bool = False
    exact: bool = True
    scales: Scales = field(default_factory=Scales)
    reference: Outputs | None = None
    ledger: list[LedgerRow] = field(default_factory=list)
    requested: list[Requested] = field(default_factory=list)


def run_pipeline(
    model: Model,
    recipe: Recipe,
    *,
    probe: Probe | None = None,
    tell: Tell = lambda _: None,
    supply: Mapping[type, Any] | None = None,
    race: Race | None = None,
) -> PipelineResult:
    """Run every step. Without a `probe` the ledger's `change` stays None. `supply` holds what steps may need, by type;
    a `Reference` is there always. `race` times the model behind a lossy step that made it no smaller against the model
    before it; what turns out to gain nothing is told in the ledger, and undone when the recipe is strict.

    Raises UsageError for a step that needs what is not there or that changes a quantized model so that its grids no
    longer fit, InvalidModel naming the step that broke the graph, and what the steps themselves raise.
    """
    verify_model(model)
    run = _Run(model, probe, tell, supply or {}, Reference(model), race, recipe.strict)
    run.reference = probe(model) if probe else None
    run.ledger.append(run.scales.row("original", model, change=0.0 if probe else None))
    for item in recipe.steps:
        if isinstance(item, Repeat):
            _repeat(run, item)
        elif isinstance(item, UntilMet):
            _until_met(run, item)
        else:
            _step(run, item)
    return PipelineResult(run.model, run.exact, tuple(run.requested), tuple(run.ledger))


def _repeat(run: _Run, group: Repeat) -> None:
    for _ in range(MAX_ROUNDS):
        before = run.model
        for step in group.steps:
            _step(run, step)
        if run.model is before:
            return
    names = ", ".join(step.step.name for step in group.steps)
    raise InvalidModel(f"{names} still change the graph after {MAX_ROUNDS} rounds", hint="two of them undo each other")


def _until_met(run: _Run, group: UntilMet) -> None:
    """Judged on calibration samples: those that the result is judged by are for that alone."""
    trials = run.supply.get(Trials)
    if trials is None:
        hint = "compress makes them of the samples that it is given as --data"
        raise UsageError("`until_met` needs Trials, and none were given", hint=hint)
    for at, item in enumerate(group.steps):
        verdict = trials.judge(run.model)
        if verdict.holds:
            _spared(run, group.steps[at:], verdict.text)
            return
        run.tell(f"{item.step.name}, since {verdict.text}")
        _step(run, item)


def _spared(run: _Run, items: tuple[RecipeStep, ...], text: str) -> None:
    """Rows of steps that there was no need to run."""
    last, output = run.ledger[-1], run.model.graph.outputs[0].node
    for item in items:
        left = Finding(output, False, f"{NOT_RUN}, since the limits hold on the calibration samples without it: {text}")
        row = replace(last, step=item.step.name, options=item.options, seconds=0.0, findings=(left,))
        run.ledger.append(replace(row, idle="", dropped=False))


def _step(run: _Run, item: RecipeStep) -> None:
    step = item.step
    run.tell(step.name)
    if step.kind == "target":
        run.requested.append(Requested(step.request(item.options), run.model, run.exact))
        return
    start = time.perf_counter()
    try:
        outcome = step.run_model(run.model, item.options, {**run.supply, Reference: run.before_loss})
    except TfoptError as error:
        error.where = error.where or step.name
        raise
    seconds = time.perf_counter() - start
    changed = outcome.model
    if changed is run.model and any(row.step == step.name for row in run.ledger):
        _retell(run, step.name, outcome.findings)
        return
    if changed is not run.model:
        _verified(changed, step.name, quantized=bool(run.model.graph.grids))
    change, findings = run.ledger[-1].change, outcome.findings
    row = run.scales.row(step.name, changed, options=item.options, seconds=seconds, change=change, findings=findings)
    if changed is not run.model:
        row = _taken(run, item, row, changed)
    run.ledger.append(row)


def _taken(run: _Run, item: RecipeStep, row: LedgerRow, changed: Model) -> LedgerRow:
    """Go on with the changed model, unless that turns out to gain nothing and the recipe is strict."""
    idle = _idle(run, item, row, changed)
    if idle and run.strict:
        return _undone(run.ledger[-1], row, idle)
    run.exact = run.exact and item.step.exact
    run.model = changed
    if run.exact:
        run.before_loss = Reference(changed)
    return replace(row, change=_change(run), idle=idle)


def _idle(run: _Run, item: RecipeStep, row: LedgerRow, changed: Model) -> str:
    """What was measured of a lossy step that makes the model neither smaller nor faster; nothing where it makes it so,
    or might. How fast integers are is not to be seen before they are lowered."""
    before = run.ledger[-1]
    if item.step.exact or not item.step.gains or run.race is None or changed.graph.grids:
        return ""
    sizes = [(before.bytes, row.bytes), (before.gzip_bytes, row.gzip_bytes), (before.macs, row.macs)]
    if any(new < (1 - _SMALLER) * old for old, new in sizes):
        return ""
    run.tell(f"timing the model without {item.step.name} and with it")
    speed = run.race(run.model, changed)
    return speed.text if speed.is_faster is False else ""


def _undone(before: LedgerRow, row: LedgerRow, idle: str) -> LedgerRow:
    findings = tuple(
        replace(one, done=False, message=f"undone with the whole step: {one.message}") for one in row.findings
    )
    told = replace(before, step=row.step, options=row.options, seconds=row.seconds, findings=findings)
    return replace(told, idle=idle, dropped=True)


def _retell(run: _Run, step: str, left: tuple[Finding, ...]) -> None:
    """A later round of a fixpoint that changed nothing has only to say what is left, in the place of what was."""
    at = max(at for at, row in enumerate(run.ledger) if row.step == step)
    done = tuple(finding for finding in run.ledger[at].findings if finding.done)
    run.ledger[at] = replace(run.ledger[at], findings=(*done, *left))


def _verified(model: Model, step: str, *, quantized: bool) -> None:
    if quantized and not model.graph.grids:
        what = f"the step {step} makes a model without grids of a quantized one"
        raise UsageError(what, hint=f"put {step} before quantize")
    try:
        verify_model(model)
    except TfoptError as error:
        if quantized and _is_sound(model.with_graph(replace(model.graph, grids={}))):
            what = f"the step {step} changes a quantized model, whose grids no longer fit it: {error}"
            raise UsageError(what, hint=f"put {step} before quantize") from error
        raise InvalidModel(f"the pass {step} broke the model: {error}", hint="this is a bug in the pass") from error


def _is_sound(model: Model) -> bool:
    try:
        verify_model(model)
    except TfoptError:
        return False
    return True


def _change(run: _Run) -> float | None:
    if run.probe is None or run.reference is None:
        return None
    return largest_change(run.reference, run.probe(run.model))


def largest_change(reference: Outputs, candidate: Outputs) -> float:
    """The largest difference of any output over its largest magnitude; 1.0 for a string or bool that differs, infinite
    for another shape and for values that are not finite where the original's are. What the candidate has not is not
    compared: it may have been dropped on request."""
    changes = [
        _output_change(reference[signature][name], made)
        for signature, outputs in candidate.items()
        for name, made in outputs.items()
    ]
    return max(changes, default=0.0)


def _output_change(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    if expected.shape != actual.shape:
        return float("inf")
    if expected.dtype.kind not in "fciu" or not expected.size:
        return 0.0 if np.array_equal(expected, actual) else 1.0
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    finite = np.isfinite(expected)  # as in fidelity: what the original cannot say is not compared
    before, after = expected[finite].astype(wide), actual[finite].astype(wide)
    if not np.isfinite(after).all():
        return float("inf")
    scale = float(np.abs(before).max(initial=0.0))
    return float(np.abs(before - after).max(initial=0.0)) / (scale or 1.0)
