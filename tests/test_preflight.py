"""What is refused before the work, and not after minutes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfopt.data import Samples, batching, split
from tfopt.errors import InvalidRecipe, InvalidSamples, OutputError, TfoptError, UsageError
from tfopt.evidence import Evidence
from tfopt.fidelity import Gate
from tfopt.ir.graph import Graph, Model, Signature, SignatureOutput
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.preflight import check_classifier, check_options, check_samples, check_trainings
from tfopt.recipe import Recipe, parse_recipe, recipe_from_flags


def recipe(steps: str) -> Recipe:
    return parse_recipe(f"steps: [{steps}]", "mine.yaml")


def evidence(count: int, source: str = "file", labels: list[int] | None = None) -> Evidence:
    kind = TensorType(DType.FLOAT32, Shape((None, 1)))
    samples = Samples({"x": np.arange(count, dtype=np.float32)[:, None]}, source, "drawn", batching({"x": kind}))
    return Evidence("main", {"main": split(samples)}, None if labels is None else np.array(labels), ())


def test_options_of_flags_are_held_to_what_those_of_files_are() -> None:
    check_options(recipe_from_flags(prune_channels=0.5, distill=True))
    with pytest.raises(InvalidRecipe, match=r"prune_channels: ratio is 1\.5; give at least 0 and less than 1"):
        check_options(recipe_from_flags(prune_channels=1.5))


@pytest.mark.parametrize(
    ("steps", "count", "told"),
    [
        ("repair", 20, "repair: 10 samples to learn from, and 16 are needed; give 32 or more"),
        ("distill", 40, "distill: 20 samples to learn from, and 32 are needed; give 64 or more"),
        ("fine_tune", 40, "fine_tune: 20 samples to learn from"),
        ("refit_neurons", 20, "refit_neurons: 10 samples to learn from, and 16 are needed"),
    ],
)
def test_too_few_samples_say_how_many_are_needed(steps: str, count: int, told: str) -> None:
    with pytest.raises(InvalidSamples, match=told):
        check_samples(recipe(steps), evidence(count))
    check_samples(recipe(steps), evidence(64))


@pytest.mark.parametrize("steps", ["repair", "distill", "fine_tune", "until_met: [distill]"])
def test_random_samples_teach_nothing(steps: str) -> None:
    with pytest.raises(InvalidSamples, match=r"learns from real samples, and none were given; give \d+ or more as --"):
        check_samples(recipe(steps), evidence(64, "synthetic"))
    check_samples(recipe("prune_channels"), evidence(64, "synthetic"))


def test_what_can_do_without_samples_is_refused_for_few_only_where_it_asks_them() -> None:
    check_samples(recipe("refit_neurons: {by: weights}"), evidence(20))
    check_samples(recipe("refit_neurons"), evidence(20, "synthetic"))


def test_a_training_that_may_not_be_needed_is_not_refused_for_few_samples() -> None:
    check_samples(recipe("until_met: [distill]"), evidence(20))


@pytest.mark.parametrize(
    ("steps", "error", "told"),
    [
        ("distill: {checkpoint: a}, distill: {steps: 5, checkpoint: ./a}", InvalidRecipe, "one checkpoint between"),
        ("distill: {checkpoint: file}", UsageError, "file: is a file, and a checkpoint is a directory"),
        ("distill: {checkpoint: file/under}", OutputError, "Not a directory"),
        ("fine_tune: {steps: 0}", UsageError, "fine_tune: steps is 1 or more"),
        ("until_met: [distill: {labels_weight: 0.5, augment: all}]", UsageError, "distill: labels belong to samples"),
    ],
)
def test_a_training_that_cannot_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: str, error: type[TfoptError], told: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=told):
        check_trainings(recipe(steps))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def model(*dims: int | None) -> Model:
    output = SignatureOutput(0, TensorType(DType.FLOAT32, Shape(dims)))
    return Model(Graph(()), {"main": Signature({}, {"y": output})})


def test_labels_of_classes_that_the_model_has_not_are_told() -> None:
    file = Path("labels.npy")
    with pytest.raises(InvalidSamples, match=r"labels\.npy: label 7, but the model has 5 classes"):
        check_classifier(model(None, 5), ["y"], evidence(4, labels=[0, 7]), Gate(), file)
    check_classifier(model(None, 5), ["y"], evidence(4, labels=[0, 4]), Gate(), file)
    check_classifier(model(None, None), ["y"], evidence(4, labels=[0, 7]), Gate(), file)


def test_a_limit_for_classifiers_of_a_model_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match="is no classifier"):
        check_classifier(model(None, 5, 5), ["y"], evidence(4), Gate.of(max_drop=1), None)
    with pytest.raises(UsageError, match="labels were given, but the model is no classifier"):
        check_classifier(model(None, 1), ["y"], evidence(4, labels=[0, 1]), Gate(), Path("labels.npy"))
