"""Weights that others make up for go first, and these do make up for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.passes.decided import SEPARABLE, model_of
from tests.running import run_graph
from tfopt.data import Samples, batching
from tfopt.errors import InvalidRecipe
from tfopt.evidence import input_types
from tfopt.ir.graph import Model
from tfopt.ir.verify import verify_model
from tfopt.learn.moments import SampleMoments
from tfopt.passes.base import ModelOutcome
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.prune_magnitude import prune_magnitude
from tfopt.passes.prune_second_order import prune_second_order

DENSE = """
  %x = Placeholder() {dtype: float32, shape: [?,8]} -> float32[?,8]
  %w = Const() {dtype: float32, value: float32[8,6] random(1)} -> float32[8,6]
  %y = MatMul(%x, %w) {T: float32} -> float32[?,6]
"""


def smooth_images(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Neighbours are alike, as in photographs."""
    rng = np.random.default_rng(3)
    drawn = rng.normal(size=(count, 8, 8, 4))
    for axis in (1, 2):
        drawn = drawn + np.roll(drawn, 1, axis) + np.roll(drawn, 2, axis)
    return drawn.astype(np.float32)


def pruned(model: Model, data: np.ndarray[Any, Any], **options: Any) -> ModelOutcome:
    (signature,) = model.signatures.values()
    samples = Samples({"x": data}, "file", "drawn", batching(input_types(signature)))
    outcome = prune_second_order.run_model(model, options, {SecondMoments: SampleMoments({"serving_default": samples})})
    verify_model(outcome.model)
    return outcome


def weight_of(model: Model, layer: str) -> np.ndarray[Any, Any]:
    tensor = model.graph.constant(model.graph[layer].inputs[1])
    assert tensor is not None
    return tensor.array


def error(model: Model, original: Model, data: np.ndarray[Any, Any]) -> float:
    (made,), (wanted,) = (run_graph(each.graph, {"x": data}) for each in (model, original))
    return float(np.square(made - wanted).sum() / np.square(wanted).sum())


def one_of_each_pair(weight: np.ndarray[Any, Any]) -> float:
    return float((np.count_nonzero(weight.reshape(4, 2, 6), axis=1) == 1).mean())


def test_of_two_inputs_that_say_the_same_one_is_enough() -> None:
    model = model_of(DENSE, "%y")
    rng = np.random.default_rng(0)
    data = np.repeat(rng.normal(size=(200, 4)), 2, axis=1).astype(np.float32)
    outcome = pruned(model, data, sparsity=0.5)
    weight = weight_of(outcome.model, "y")
    assert np.count_nonzero(weight) == 24
    by_magnitude = prune_magnitude.run_model(model, {"sparsity": 0.5}).model
    assert error(outcome.model, model, data) < 0.5 * error(by_magnitude, model, data)
    assert one_of_each_pair(weight) > 0.15 + one_of_each_pair(weight_of(by_magnitude, "y"))


def test_it_loses_less_than_pruning_by_magnitude() -> None:
    model = model_of(SEPARABLE, "%y")
    data, others = smooth_images(96), smooth_images(32)[::-1]
    by_magnitude = prune_magnitude.run_model(model, {"sparsity": 0.6}).model
    outcome = pruned(model, data, sparsity=0.6)
    assert error(outcome.model, model, others) < 0.5 * error(by_magnitude, model, others)
    zeros = sum(int((weight_of(outcome.model, f"{name}_conv") == 0).sum()) for name in "ay")
    assert zeros == round(0.6 * 288)
    assert {f.node: f.done for f in outcome.findings} == {"a_w": True, "d_w": False, "y_w": True}


@pytest.mark.parametrize("options", [{"pattern": "2:4"}, {"block": "4x1", "sparsity": 0.5}])
def test_patterns_and_blocks(options: dict[str, Any]) -> None:
    model = model_of(SEPARABLE, "%y")
    weight = weight_of(pruned(model, smooth_images(32), **options).model, "y_conv").reshape(9, 4, 4)
    zeros = (weight == 0).sum(axis=1)
    assert set(np.unique(zeros)) == ({2} if "pattern" in options else {0, 4})


def test_depthwise_filters_where_asked() -> None:
    model = model_of(SEPARABLE, "%y")
    outcome = pruned(model, smooth_images(32), sparsity=0.5, scope="layer", depthwise=True)
    assert (weight_of(outcome.model, "d_conv") == 0).sum() == 18


def test_it_is_the_same_every_time() -> None:
    model = model_of(SEPARABLE, "%y")
    one, other = (pruned(model, smooth_images(32), sparsity=0.7) for _ in range(2))
    assert one.findings == other.findings
    np.testing.assert_array_equal(weight_of(one.model, "y_conv"), weight_of(other.model, "y_conv"))


def test_shares_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidRecipe, match="sparsity is 1"):
        pruned(model_of(SEPARABLE, "%y"), smooth_images(4), sparsity=1.0)
