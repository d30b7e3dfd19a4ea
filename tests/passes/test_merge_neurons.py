"""Merged neurons: nothing is lost of what others tell exactly, and as little as can be of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.passes.decided import IMAGE, SEPARABLE, conv, model_of, op
from tests.running import feeds_for, run_graph
from tfopt.data import Samples
from tfopt.errors import InvalidRecipe, UsageError
from tfopt.ir.fused import fused_layers
from tfopt.ir.graph import Graph, Model, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.ir.verify import verify_model
from tfopt.learn.moments import SampleMoments
from tfopt.learn.side_by_side import SampleRefits
from tfopt.passes.merge_neurons import merge_neurons
from tfopt.passes.needs.assumed import AssumedMoments, AssumedRefits
from tfopt.passes.needs.propagation import Propagation
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.refits import Refit, Refits
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.refit_neurons import refit_neurons
from tfopt.passes.structure.coupling import couple

DENSE = """
  %x = Placeholder() {dtype: float32, shape: [?,12]} -> float32[?,12]
  %w = Const() {dtype: float32, value: float32[12,24] random(1)} -> float32[12,24]
  %b = Const() {dtype: float32, value: float32[24] random(2)} -> float32[24]
  %v = Const() {dtype: float32, value: float32[24,5] random(3)} -> float32[24,5]
  %one = MatMul(%x, %w) {T: float32} -> float32[?,24]
  %a = BiasAdd(%one, %b) {T: float32} -> float32[?,24]
  %h = Relu(%a) {T: float32} -> float32[?,24]
  %y = MatMul(%h, %v) {T: float32} -> float32[?,5]
"""

RESIDUAL = IMAGE + conv("s", "x") + conv("b", "s") + op("t", "AddV2", "s", "b") + op("r", "Relu", "t") + conv("y", "r")


def replaced(model: Model, arrays: dict[str, NDArray[Any]]) -> Model:
    editor = Editor(model.graph)
    for name, array in arrays.items():
        node = model.graph[name]
        editor.update(node.with_attrs(value=Tensor(array.astype(node.tensor.array.dtype))))
    return model.with_graph(editor.finish())


def array(model: Model, name: str) -> NDArray[Any]:
    return model.graph[name].tensor.array.copy()


def run(graph: Graph, feeds: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return run_graph(graph, feeds)[0]


def with_copies(model: Model, names: tuple[str, ...], factors: tuple[float, ...]) -> Model:
    """Channel 1 of these constants' last axis is channel 0, times a factor."""
    made = {}
    for name, factor in zip(names, factors, strict=True):
        made[name] = array(model, name)
        made[name][..., 1] = factor * made[name][..., 0]
    return replaced(model, made)


def off(model: Model, other: Model, feeds: dict[str, NDArray[Any]]) -> float:
    """The error's power over that of the outputs around their mean."""
    before, after = run(model.graph, feeds), run(other.graph, feeds)
    around = before - before.mean(axis=0)
    return float(np.square(after - before).sum() / np.square(around).sum())


def inputs(model: Model, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Such as lie near a plane of few dimensions, as data does."""
    rng = np.random.default_rng(seed)
    shape = tuple(dim or 1 for dim in model.graph["x"].outputs[0].shape.dims or ())[1:]
    size = int(np.prod(shape))
    basis = np.random.default_rng(7).standard_normal((4, size))
    flat = rng.standard_normal((count, 4)) @ basis + 0.05 * rng.standard_normal((count, size))
    return flat.reshape(count, *shape).astype(np.float32)


def samples(model: Model, count: int = 400) -> dict[str, Samples]:
    key, signature = next(iter(model.signatures.items()))
    return {key: Samples({next(iter(signature.inputs)): inputs(model, count)}, "file", "drawn for a test")}


def test_a_scaled_neuron_behind_a_relu_is_merged_without_loss() -> None:
    model = model_of(DENSE, "%y")
    model = replaced(model, {"b": 0.1 * array(model, "b"), "v": np.sign(array(model, "v"))})
    model = with_copies(model, ("w", "b"), (4.0, 4.0))
    made = merge_neurons(model, ratio=1 / 24).model
    verify_model(made)
    assert made.graph["w"].tensor.array.shape == (12, 23)
    feeds = feeds_for(model.graph, unknown=64)
    np.testing.assert_allclose(run(made.graph, feeds), run(model.graph, feeds), rtol=1e-5, atol=1e-4)


def test_channels_of_a_convolution_go_with_those_of_the_depthwise_filter_behind_it() -> None:
    model = model_of(SEPARABLE, "%y")
    weight, depthwise = array(model, "a_w"), array(model, "d_w")
    weight[..., 1] = 2 * weight[..., 0]
    bias = array(model, "a_b")
    bias[1] = 2 * bias[0]
    other = array(model, "d_b")
    other[1] = 2 * other[0]
    depthwise[:, :, 1] = depthwise[:, :, 0]
    model = replaced(model, {"a_w": weight, "a_b": bias, "d_w": depthwise, "d_b": other})
    made = merge_neurons(model).model
    verify_model(made)
    assert made.graph["d_w"].tensor.array.shape[2] == depthwise.shape[2] - 1
    feeds = feeds_for(model.graph, unknown=4)
    expected = run(model.graph, feeds)
    np.testing.assert_allclose(run(made.graph, feeds), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_samples_tell_neurons_that_weights_do_not() -> None:
    """On data of four dimensions many neurons tell each other what no look at the weights shows."""
    model = model_of(DENSE, "%y")
    feeds = {"x": inputs(model, 500, seed=3)}
    by_samples = merge_neurons(model, SampleMoments(samples(model)), ratio=0.5).model
    by_weights = merge_neurons(model, ratio=0.5).model
    assert by_samples.graph["w"].tensor.array.shape == by_weights.graph["w"].tensor.array.shape == (12, 12)
    assert off(model, by_samples, feeds) < 0.02
    assert off(model, by_samples, feeds) < off(model, by_weights, feeds) < 1.0


def test_samples_drawn_at_random_are_not_asked() -> None:
    model = model_of(DENSE, "%y")
    drawn = {key: Samples(each.arrays, "synthetic", "random") for key, each in samples(model).items()}
    made = merge_neurons(model, SampleMoments(drawn), ratio=0.5).model
    assert np.array_equal(array(made, "v"), array(merge_neurons(model, ratio=0.5).model, "v"))
    with pytest.raises(UsageError, match="by samples needs some"):
        merge_neurons(model, SampleMoments(drawn), by="samples")


def test_the_sum_of_a_residual_block_keeps_its_channels_together() -> None:
    model = model_of(RESIDUAL, "%y")
    made = merge_neurons(model, ratio=0.5).model
    verify_model(made)
    assert made.graph["s_w"].tensor.array.shape[-1] == made.graph["b_w"].tensor.array.shape[-1]
    assert made.graph["s_w"].tensor.array.shape[-1] < model.graph["s_w"].tensor.array.shape[-1]
    feeds = feeds_for(model.graph, unknown=4)
    assert run(made.graph, feeds).shape == run(model.graph, feeds).shape


def test_what_a_step_is_told_is_checked() -> None:
    model = model_of(DENSE, "%y")
    for options in ({"ratio": 1.0}, {"ratio": -0.1}, {"tolerance": 1.0}, {"least": 0}):
        with pytest.raises(InvalidRecipe):
            merge_neurons(model, **options)
    assert array(merge_neurons(model, ratio=0.99, least=3).model, "w").shape == (12, 3)


def test_guesses_are_the_same_every_time_and_leave_out_what_nothing_tells() -> None:
    model = model_of(SEPARABLE, "%y")
    layers = [each.layer for each in couple(model.graph).layers]
    first, second = (list(AssumedMoments().moments(model, layers)) for _ in range(2))
    assert [layer.node.name for layer, _ in first] == ["d_conv", "y_conv"]
    for (_, one), (_, other) in zip(first, second, strict=True):
        assert np.array_equal(one.second, other.second)
        assert np.all(np.linalg.eigvalsh(one.second.astype(np.float64)) > -1e-3)


def test_rows_are_held_no_longer_than_somebody_reads_them() -> None:
    model = model_of(RESIDUAL, "%y")
    held, most = Propagation(model.graph, keep=[Value("b")]), 0
    for _ in held.layers():
        most = max(most, len(held.rows))
    assert set(held.rows) == {Value("y"), Value("b")}
    assert most <= 3


def test_moved_neurons_bring_back_what_no_reader_can() -> None:
    model = model_of(DENSE, "%y")
    told = samples(model, 1500)
    given = {SecondMoments: SampleMoments(told), Refits: SampleRefits(told), Reference: Reference(model)}
    merged = merge_neurons.run_model(model, {"ratio": 0.75}, given).model
    outcome = refit_neurons.run_model(merged, {}, given)
    verify_model(outcome.model)
    feeds = {"x": inputs(model, 500, seed=3)}
    assert off(model, outcome.model, feeds) < 0.6 * off(model, merged, feeds)
    assert [finding.done for finding in outcome.findings] == [True]
    assert refit_neurons.run_model(model, {}, given).model is model


def test_moved_neurons_help_where_there_are_no_samples() -> None:
    model = model_of(DENSE, "%y")
    merged = merge_neurons(model, ratio=0.5).model
    drawn = {key: Samples(each.arrays, "synthetic", "random") for key, each in samples(model, 64).items()}
    outcome = refit_neurons.run_model(merged, {}, {Refits: SampleRefits(drawn), Reference: Reference(model)})
    verify_model(outcome.model)
    feeds = {"x": np.random.default_rng(5).standard_normal((500, 12)).astype(np.float32)}
    assert off(model, outcome.model, feeds) < 0.8 * off(model, merged, feeds)
    again = refit_neurons.run_model(merged, {"by": "weights"}, {Reference: Reference(model)}).model
    assert np.array_equal(run(again.graph, feeds), run(outcome.model.graph, feeds))
    with pytest.raises(UsageError, match="by samples needs some"):
        refit_neurons.run_model(merged, {"by": "samples"}, {Reference: Reference(model)})


@pytest.mark.parametrize("text", [DENSE, SEPARABLE, RESIDUAL])
def test_guessed_rows_are_the_same_in_both_models(text: str) -> None:
    """So a layer of a model beside itself makes of its rows what is wanted of it."""
    model = model_of(text, "%y")
    layers = fused_layers(model.graph)
    refits = [Refit(each, Value(each.sum_node) if each.residual else each.summed, None) for each in layers]
    followed = AssumedRefits().follow(model, refits)
    told = [(refit.fused, pairs) for refit in refits if (pairs := followed.pairs(model, refit)) is not None]
    assert told
    for fused, pairs in told:
        made = (pairs.held_out.rows @ fused.layer.matrices).transpose(1, 0, 2).reshape(len(pairs.held_out.wanted), -1)
        made = made + (0 if fused.bias is None else fused.bias)
        added = 0 if pairs.held_out.residual is None else pairs.held_out.residual
        np.testing.assert_allclose(made + added, pairs.held_out.wanted, rtol=1e-4, atol=1e-4)
