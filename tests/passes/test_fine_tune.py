"""Gradual pruning under a teacher, on a model that has something to learn."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.passes.decided import model_of
from tfopt.data import Samples
from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import Model
from tfopt.learn.teacher import SampleTeaching
from tfopt.passes.base import ModelOutcome
from tfopt.passes.fine_tune import fine_tune
from tfopt.passes.needs.reference import Reference
from tfopt.passes.prune_magnitude import prune_magnitude

LINES = """
  %x = Placeholder() {dtype: float32, shape: [?,16]} -> float32[?,16]
  %w1 = Const() {dtype: float32, value: float32[16,32] random(1)} -> float32[16,32]
  %h = MatMul(%x, %w1) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,32]
  %r = Relu(%h) {T: float32} -> float32[?,32]
  %w2 = Const() {dtype: float32, value: float32[32,4] random(2)} -> float32[32,4]
  %y = MatMul(%r, %w2) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,4]
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(LINES, "%y")


@pytest.fixture(scope="module")
def teaching() -> SampleTeaching:
    x = np.random.default_rng(0).normal(size=(256, 16)).astype(np.float32)
    samples = Samples({"x": x}, "file", "256 samples")
    return SampleTeaching({"serving_default": samples}, "serving_default", partial(_no_model))


def _no_model(_: object) -> Model:
    raise AssertionError("no student is read")


def tuned(model: Model, teaching: SampleTeaching, reference: Model | None = None, **options: object) -> ModelOutcome:
    options = {"steps": 120, "batch_size": 32, "learning_rate": 0.01, **options}
    outcome = fine_tune(model, Reference(reference or model), teaching, **options)
    assert isinstance(outcome, ModelOutcome)
    return outcome


def weights(model: Model) -> list[np.ndarray]:
    return [model.graph[name].tensor.array for name in ("w1", "w2")]


def distance(model: Model, other: Model) -> float:
    x = np.random.default_rng(1).normal(size=(500, 16)).astype(np.float32)
    one, two = (np.maximum(x @ first, 0) @ second for first, second in (weights(model), weights(other)))
    return float(np.linalg.norm(one - two) / np.linalg.norm(two))


def test_layers_compete_unless_told_otherwise(model: Model, teaching: SampleTeaching) -> None:
    first, second = weights(tuned(model, teaching, sparsity=0.5, steps=20).model)
    assert (first == 0).sum() + (second == 0).sum() == (first.size + second.size) // 2
    assert (first == 0).mean() != (second == 0).mean()


def test_it_ends_with_the_share_of_zeros_and_nearer_than_pruning_alone(model: Model, teaching: SampleTeaching) -> None:
    outcome = tuned(model, teaching, sparsity=0.5, scope="layer")
    assert [float((array == 0).mean()) for array in weights(outcome.model)] == [0.5, 0.5]
    pruned = prune_magnitude(model, sparsity=0.5).model
    assert distance(outcome.model, model) < 0.6 * distance(pruned, model)
    assert any(found.done and "256 of 512 weights are zero (50.0%)" in found.message for found in outcome.findings)


def test_two_of_every_four_stay(model: Model, teaching: SampleTeaching) -> None:
    first, second = weights(tuned(model, teaching, pattern="2:4").model)
    for array in (first, second):
        assert (np.count_nonzero(array.T.reshape(-1, 4), axis=1) <= 2).all()


def test_a_pruned_model_gets_sparser_from_where_it_is(model: Model, teaching: SampleTeaching) -> None:
    pruned = prune_magnitude(model, sparsity=0.4).model
    outcome = tuned(pruned, teaching, model, sparsity=0.6, scope="layer")
    assert [round(float((array == 0).mean()), 2) for array in weights(outcome.model)] == [0.6, 0.6]


def test_the_same_seed_gives_the_same_weights(model: Model, teaching: SampleTeaching) -> None:
    first, second = (tuned(model, teaching, sparsity=0.5, steps=20, seed=3).model for _ in range(2))
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_excluded_stays_dense_and_is_told(model: Model, teaching: SampleTeaching) -> None:
    outcome = tuned(model, teaching, sparsity=0.5, steps=20, exclude=("w2",))
    assert not (weights(outcome.model)[1] == 0).any()
    assert ("w2", "w2 is left out by 'w2'") in {(found.node, found.message) for found in outcome.findings}


def test_a_clock_that_ends_it_too_early_leaves_the_model(model: Model, teaching: SampleTeaching) -> None:
    outcome = tuned(model, teaching, sparsity=0.5, steps=None, seconds=1e-6)
    assert outcome.model is model
    assert "ended before all zeros were in place" in outcome.findings[0].message


def test_all_zeros_are_in_place_in_time_where_a_clock_ends_it(model: Model, teaching: SampleTeaching) -> None:
    outcome = tuned(model, teaching, sparsity=0.5, steps=1_000_000, seconds=3.0, patience=None)
    assert np.mean([(array == 0).mean() * array.size for array in weights(outcome.model)]) == (512 + 128) / 4
    assert "3 seconds had passed" in outcome.findings[-1].message


def test_options_out_of_range_are_refused(model: Model, teaching: SampleTeaching) -> None:
    with pytest.raises(InvalidRecipe, match="fine_tune: until is 1"):
        tuned(model, teaching, until=1.0)
