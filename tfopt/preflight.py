"""What can be told of a run before the work: a recipe that cannot end well is refused here, not after minutes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe, InvalidSamples, MissingExtra, TfoptError, UsageError
from tfopt.evidence import Evidence
from tfopt.fidelity import Gate, check_classes
from tfopt.formats.model_path import saved_model_file
from tfopt.ir.graph import Model
from tfopt.ir.types import numpy_dtype
from tfopt.keras.file import is_keras_file, read_keras_file
from tfopt.keras.opened import check_installed
from tfopt.passes.needs import refits, teaching
from tfopt.recipe import Recipe, RecipeStep, UntilMet
from tfopt.store.output import check_absent, check_parents
from tfopt.words import counted

#: Fewest samples for what a step may ask for.
_FEWEST: Final[Mapping[type, int]] = {refits.Refits: refits.FEWEST, teaching.Teaching: teaching.FEWEST}
#: What a step's artifact is written and proven with: module, package, extra, what for.
_NEEDED = {
    "onnx": (
        ("onnx", "onnx", "onnx", "writing a model.onnx"),
        ("onnxruntime", "onnxruntime", "onnx", "proving a model.onnx"),
    ),
    "tflite": (("ai_edge_litert", "ai-edge-litert", "litert", "proving a model.tflite"),),
}
_HELD_OUT = "half of --data is held out to judge the result"


def check_model(source: Path) -> None:
    """Raises NotFound, and the errors of what reads its files, for what is neither a SavedModel nor a Keras file, and
    MissingExtra for a file of a Keras that is not installed."""
    if is_keras_file(source):
        check_installed(read_keras_file(source))
    else:
        saved_model_file(source)


def check_arguments(source: Path, target: Path, seed: int) -> None:
    """Raises OutputExists and OutputError for a place where nothing can be written, and UsageError for one in the model
    and for a seed below 0."""
    check_absent(target)
    check_parents(target)
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        hint = "name a place outside of it: the input is never changed"
        raise UsageError("the output lies in the model", where=str(target), hint=hint)
    if seed < 0:
        raise UsageError(f"a seed is 0 or more, not {seed}")


def check_packages(recipe: Recipe) -> None:
    """Raises MissingExtra before the work, not at its end, for what the artifacts will need."""
    for step in recipe:
        for module, package, extra, purpose in _NEEDED.get(step.step.name, ()):
            if find_spec(module) is None:
                raise MissingExtra.of(package, extra, purpose)


def check_options(recipe: Recipe) -> None:
    """Raises InvalidRecipe for a step's options that are out of range or do not go together (`Step.check`)."""
    for item in recipe:
        item.step.check(item.options)


def check_students(recipe: Recipe) -> None:
    """Models of the user's own are to be there before the work that they are needed behind."""
    for step in recipe:
        if step.options.get("student"):
            check_model(Path(step.options["student"]))


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
        for kind in _learnt_from(item, bool(real)):
            if not real:
                _no_samples(item.step.name, _FEWEST[kind])
            elif is_sure:
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


def _learnt_from(item: RecipeStep, is_real: bool) -> Iterator[type]:
    """In what form a step learns from samples: what it can do without, it asks of real ones, unless told not to."""
    wishes = item.step.wishes if is_real and item.options.get("by") != "weights" else ()
    yield from (kind for kind in (*item.step.needs, *wishes) if kind in _FEWEST)


def _no_samples(step: str, fewest: int) -> None:
    hint = f"give {2 * fewest} or more as --data ({_HELD_OUT}), better some thousand; none needs a label"
    raise InvalidSamples("it learns from real samples, and none were given", where=step, hint=hint)


def _enough(step: str, count: int, fewest: int) -> None:
    if count < fewest:
        what = f"{counted(count, 'sample')} to learn from, and {fewest} are needed"
        leave = " (--no-repair)" if step == "repair" else ""
        hint = f"give {2 * fewest} or more ({_HELD_OUT}), better some thousand, or leave {step} out{leave}"
        raise InvalidSamples(what, where=step, hint=hint)
