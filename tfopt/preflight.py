"""What can be told of a run before the work: a recipe that cannot end well is refused here, not after minutes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe, InvalidSamples, TfoptError, UsageError
from tfopt.evidence import Evidence
from tfopt.fidelity import Gate, check_classes
from tfopt.ir.graph import Model
from tfopt.ir.types import numpy_dtype
from tfopt.passes import refits, teaching
from tfopt.recipe import Recipe, RecipeStep, UntilMet
from tfopt.store.output import check_parents
from tfopt.words import counted

#: Fewest samples for what a step may ask for.
_FEWEST: Final[Mapping[type, int]] = {refits.Refits: refits.FEWEST, teaching.Teaching: teaching.FEWEST}
_HELD_OUT = "half of --data is held out to judge the result"


def check_trainings(recipe: Recipe) -> None:
    """Raises UsageError and UnmetRequirement for what no training can be asked for (`teaching.check_plan`), OutputError
    or UsageError for a place where none can be written down, and InvalidRecipe for one that two trainings share: each
    would take the other's for its own."""
    places: dict[Path, str] = {}
    for item in recipe:
        if teaching.Teaching not in item.step.needs:
            continue
        try:
            teaching.check_plan(teaching.Plan(**_of(teaching.Plan, item)), teaching.Aim(**_of(teaching.Aim, item)))
        except TfoptError as error:
            error.where = item.step.name
            raise
        if item.options.get("checkpoint"):
            _check_checkpoint(Path(item.options["checkpoint"]), item.step.name, places)


def _of(kind: type[teaching.Plan | teaching.Aim], item: RecipeStep) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in item.options.items() if name in names}


def _check_checkpoint(place: Path, step: str, places: dict[Path, str]) -> None:
    if place.exists() and not place.is_dir():
        raise UsageError("is a file, and a checkpoint is a directory", where=str(place), hint="name another place")
    check_parents(place / "training")
    if place.resolve() in places:
        what = f"{places[place.resolve()]} and {step} have one checkpoint between them"
        raise InvalidRecipe(what, where=str(place), hint="give each training a directory of its own")
    places[place.resolve()] = step


def check_samples(recipe: Recipe, evidence: Evidence) -> None:
    """Raises InvalidSamples where a step needs real samples and there are none, or too few: those of an `until_met`
    may turn out not to be needed, and few of them are no matter until then."""
    real = {key: samples.count for key, samples in evidence.calibration.items() if samples.source != "synthetic"}
    for item, is_sure in _steps(recipe):
        for kind in item.step.needs:
            if kind in _FEWEST and not real:
                _no_samples(item.step.name, _FEWEST[kind])
            elif kind in _FEWEST and is_sure:
                counts = [max(real.values())] if kind is refits.Refits else list(real.values())
                _enough(item.step.name, min(counts), _FEWEST[kind])


def check_classifier(
    model: Model, outputs: Collection[str], evidence: Evidence, gate: Gate, labels: Path | None
) -> None:
    """Raises InvalidSamples for labels (of this file) of classes that the model has not, and UsageError for labels and
    limits of a classifier where it is none, as far as the shapes of these `outputs` of the main signature tell."""
    signature = model.signatures[evidence.main]
    shown: dict[str, NDArray[Any]] = {}
    for name in outputs:
        kind = signature.outputs[name].type
        dims = kind.shape.dims
        if dims is None or None in dims[1:]:
            return
        shown[name] = np.zeros([1 if dim is None else dim for dim in dims], numpy_dtype(kind.dtype))
    gate.check_suits(shown, signature.method_name)
    for classes in (evidence.labels, evidence.calibration_labels):
        if classes is not None:
            check_classes(classes, shown, signature.method_name, where=str(labels))


def _steps(recipe: Recipe) -> Iterator[tuple[RecipeStep, bool]]:
    """Every step, and whether it is run for sure."""
    for item in recipe.steps:
        for step in (item,) if isinstance(item, RecipeStep) else item.steps:
            yield step, not isinstance(item, UntilMet)


def _no_samples(step: str, fewest: int) -> None:
    hint = f"give {2 * fewest} or more as --data ({_HELD_OUT}), better some thousand; none needs a label"
    raise InvalidSamples("it learns from real samples, and none were given", where=step, hint=hint)


def _enough(step: str, count: int, fewest: int) -> None:
    if count < fewest:
        what = f"{counted(count, 'sample')} to learn from, and {fewest} are needed"
        leave = " (--no-repair)" if step == "repair" else ""
        hint = f"give {2 * fewest} or more ({_HELD_OUT}), better some thousand, or leave {step} out{leave}"
        raise InvalidSamples(what, where=step, hint=hint)
