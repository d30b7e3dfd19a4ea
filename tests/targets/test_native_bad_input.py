"""Models and samples that int8 does not suit: answers stay right, in float where need be, and the reason is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.passes.observed import FedStatistics
from tests.targets.ir_models import normal
from tests.targets.on_grids import drawn
from tfopt.ir import Model, Tensor
from tfopt.passes.quantize import quantize
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.native_lowering.lowering import with_native_int8

KEY = "serving_default"
IMAGES = normal(6, 9, 9, 3)
INTEGER = {"_FusedQuantizedConv2D", "_FusedQuantizedDepthwiseConv2D", "_QuantizedMatMul"}


@dataclass(frozen=True)
class Outcome:
    """What became of a model: which ops there are, what was said of its layers, and how far the answers are off, as a
    share of the largest one."""

    ops: frozenset[str]
    said: Mapping[str, str]
    off: float

    @property
    def computes_on_integers(self) -> bool:
        return not self.ops.isdisjoint(INTEGER)


def outcome(model: Model, samples: np.ndarray, asked: np.ndarray | None = None) -> Outcome:
    """Of `model`, calibrated on `samples` and asked about `asked`."""
    inputs = {"x": samples if asked is None else asked}
    made = quantize(model, FedStatistics({"x": samples}), round_results=True)
    lowered = with_native_int8(made.model)
    with ModelRunner(model) as plain, ModelRunner(lowered.model) as runner:
        expected, found = (one.run(KEY, inputs)["y0"].astype(np.float64) for one in (plain, runner))
    assert found.shape == expected.shape
    ops = frozenset(node.op for node in lowered.model.graph)
    off = np.abs(found - expected).max() / (np.abs(expected).max() or 1.0)
    return Outcome(ops, {finding.node: finding.message for finding in made.findings}, float(off))


def weight(*shape: int, seed: int = 3) -> np.ndarray:
    return np.asarray(normal(*shape, seed=seed) / np.sqrt(np.prod(shape[:-1]), dtype=np.float32))


def network(x: Any, scale: float = 1.0) -> Any:
    """Two convolutions and a product; `scale` is that of the first weight, whose bias is in proportion."""
    first = tf.nn.conv2d(x, weight(3, 3, 3, 8) * np.float32(scale), 1, "SAME", name="first")
    hidden = tf.nn.relu(tf.nn.bias_add(first, weight(8) * np.float32(scale)))
    second = tf.nn.conv2d(hidden, weight(3, 3, 8, 5, seed=4), 2, "VALID", name="second")
    flat = tf.reshape(tf.nn.relu(tf.nn.bias_add(second, weight(5))), [-1, 80])
    return tf.matmul(flat, weight(80, 4), name="last")


def model_of(draw: Callable[..., Any] = network, x: np.ndarray = IMAGES) -> Model:
    return drawn(draw, {"x": x})


def test_the_network_is_integer_where_nothing_is_wrong() -> None:
    found = outcome(model_of(), IMAGES)
    assert found.computes_on_integers and not found.ops & {"Conv2D", "MatMul"}
    assert 0 < found.off < 0.03


def test_layers_that_the_samples_never_excite_stay_float() -> None:
    """And are right when something else excites them."""

    def dead(x: Any) -> Any:
        first = tf.nn.conv2d(x, weight(3, 3, 3, 8), 1, "SAME", name="first")
        hidden = tf.nn.relu(first - np.float32(50.0))
        return tf.nn.conv2d(hidden, weight(1, 1, 8, 5), 1, "SAME", name="second")

    silent = outcome(model_of(dead), IMAGES, np.zeros_like(IMAGES))
    assert silent.said["second"] == "stays float: its data is 0 in every sample, which says nothing about its range"
    assert silent.off == 0
    zeros = outcome(model_of(), np.zeros_like(IMAGES), IMAGES)
    assert zeros.said["first"] == silent.said["second"]
    # What is behind has seen what the bias makes of nothing, and is cut off there.
    assert zeros.ops & {"Conv2D"}


def test_one_constant_sample_is_a_range_like_any_other() -> None:
    constant = np.full_like(IMAGES[:1], 0.75)
    found = outcome(model_of(), constant, np.concatenate([constant] * 3))
    assert found.computes_on_integers
    assert found.off < 0.03


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_numbers_that_have_no_scale_stay_float(scale: float) -> None:
    samples = IMAGES * np.float32(scale)
    found = outcome(model_of(), samples)
    assert "beyond what integer kernels can scale" in found.said["first"]
    assert found.off < 0.03
    weights = outcome(model_of(lambda x: network(x, scale)), IMAGES)
    assert "beyond what integer kernels can scale" in weights.said["first"]
    assert weights.off < 0.03


@pytest.mark.parametrize("scale", [1e-10, 1e16])
@pytest.mark.parametrize("part", ["data", "weights", "one and the inverse of the other"])
def test_numbers_that_barely_have_one_are_right(scale: float, part: str) -> None:
    samples = IMAGES if part == "weights" else IMAGES * np.float32(scale)
    factor = {"data": 1.0, "weights": scale}.get(part, 1 / scale)
    found = outcome(model_of(lambda x: network(x, factor)), samples)
    assert found.computes_on_integers
    assert found.off < 0.03


@pytest.mark.parametrize("names", [["first"], ["second"], ["last"], ["first", "second", "last"]])
def test_weights_of_zeros_give_the_bias(names: list[str]) -> None:
    model = model_of()
    zeros = {model.graph[name].inputs[1].node for name in names}
    nodes = tuple(
        node.with_attrs(value=Tensor(np.zeros_like(node.tensor.array))) if node.name in zeros else node
        for node in model.graph
    )
    found = outcome(model.with_graph(replace(model.graph, nodes=nodes)), IMAGES)
    assert found.off < 0.03


@pytest.mark.parametrize("tiny", [0.0, 1e-9, 1e-40])
@pytest.mark.parametrize("op", ["Conv2D", "DepthwiseConv2dNative", "MatMul"])
def test_the_bias_of_a_channel_with_hardly_any_weight_is_kept(op: str, tiny: float) -> None:
    """In units of the channel's scale it is far beyond 32 bits."""
    channels = np.array([1, tiny, 1, tiny, 1, 1], np.float32)

    def one(x: Any) -> Any:
        if op == "Conv2D":
            made = tf.nn.conv2d(x, weight(3, 3, 3, 6) * channels, 1, "SAME")
        elif op == "MatMul":
            made = tf.matmul(tf.reshape(x, [-1, 243]), weight(243, 6) * channels)
        else:
            made = tf.nn.depthwise_conv2d(x, weight(3, 3, 3, 2) * channels.reshape(3, 2), [1, 1, 1, 1], "SAME")
        return tf.nn.bias_add(made, np.array([0.5, 0.5, -0.5, 0.25, 0, 1], np.float32))

    found = outcome(model_of(one), IMAGES)
    assert found.computes_on_integers
    assert found.off < 0.03


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise_layers_of_several_filters_a_channel(multiplier: int, strides: int) -> None:
    def depthwise(x: Any) -> Any:
        filters = weight(3, 3, 3, multiplier) * np.linspace(0.2, 3, 3 * multiplier, dtype=np.float32).reshape(3, -1)
        made = tf.nn.depthwise_conv2d(x, filters, [1, strides, strides, 1], "SAME")
        made = tf.nn.relu(tf.nn.bias_add(made, weight(3 * multiplier)))
        return tf.nn.conv2d(made, weight(1, 1, 3 * multiplier, 4), 1, "SAME")

    found = outcome(model_of(depthwise), IMAGES)
    assert found.computes_on_integers
    assert found.off < 0.03


def test_a_batch_that_a_reshape_computes_may_be_any() -> None:
    def folded(x: Any) -> Any:
        made = tf.nn.relu(tf.nn.conv2d(x, weight(3, 3, 3, 8), 3, "VALID"))
        flat = tf.reshape(made, [tf.shape(x)[0], -1])
        rows = tf.reshape(tf.matmul(tf.ensure_shape(flat, [None, 72]), weight(72, 12)), [tf.shape(x)[0] * 3, 4])
        return tf.matmul(tf.nn.relu(rows), weight(4, 5))

    for count in (1, 4, 6):
        found = outcome(model_of(folded), IMAGES, IMAGES[:count])
        assert not found.ops & {"Conv2D", "MatMul"}
        assert found.off < 0.03


def test_numbers_beyond_those_of_the_samples_end_where_the_range_does() -> None:
    """Cut off, not wrapped around."""
    model = model_of(lambda x: tf.nn.conv2d(x, np.eye(3, dtype=np.float32)[None, None], 1, "SAME"))
    made = quantize(model, FedStatistics({"x": IMAGES}), round_results=True, ranges="min_max")
    with ModelRunner(with_native_int8(made.model).model) as runner:
        for huge in (1e3, 1e9, 1e30, np.inf):
            for sign, end in ((1, IMAGES.max()), (-1, IMAGES.min())):
                found = runner.run(KEY, {"x": np.full_like(IMAGES[:1], sign * huge)})["y0"]
                np.testing.assert_allclose(found, np.full_like(found, end), atol=0.05)
