"""Channels that are much larger than the others, as transformers have them: the layers that read them round better, and
the network computes what it did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import models
from tests.conftest import Builder
from tests.passes.observed import FedStatistics
from tests.passes.test_transformers import encoder, exact
from tests.running import feeds_for, run_graph
from tfopt.errors import InvalidRecipe
from tfopt.formats.graph_def import from_graph_def
from tfopt.ir.graph import Graph, Model, Value
from tfopt.ir.grid import symmetric
from tfopt.ir.linear import Linear, linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.ir.verify import verify
from tfopt.passes.base import ModelOutcome
from tfopt.passes.needs.statistics import Observed, Statistics
from tfopt.passes.registry import steps

WIDTH, ROWS = 16, 64
Arrays = dict[str, NDArray[Any]]
Layers = Callable[[Any], Collection[Any]]


def graph_of(layers: Layers) -> Graph:
    """What the passes before make of it, layer norm written as they write it."""
    with tf.Graph().as_default() as drawn:
        x = tf.compat.v1.placeholder(tf.float32, [None, WIDTH], "x")
        outputs = [tf.identity(y, f"y{n}") for n, y in enumerate(layers(x))]
    names = tuple(Value(y.op.name) for y in outputs)
    graph = from_graph_def(drawn.as_graph_def(), inputs=("x",), outputs=names)
    for name in ("fold_constants", "remove_identities", "fuse_layer_norm"):
        graph = steps()[name].run(graph).graph
    return graph


def fed(seed: int = 0) -> Arrays:
    return {"x": np.random.default_rng(seed).standard_normal((ROWS, WIDTH)).astype(np.float32)}


def smoothed(graph: Graph, **options: Any) -> ModelOutcome:
    given_here = {Statistics: FedStatistics(fed())}
    outcome = steps()["smooth"].run_model(Model(graph, {}), options, given_here)
    verify(outcome.model.graph)
    again = steps()["smooth"].run_model(outcome.model, options, given_here)
    assert again.model is outcome.model
    return outcome


def assert_computes_the_same(before: Graph, after: Graph) -> None:
    for wanted, made in zip(run_graph(before, fed(1)), run_graph(after, fed(1)), strict=True):
        np.testing.assert_allclose(made, wanted, rtol=0, atol=2e-6 * float(np.max(np.abs(wanted))))


def products(graph: Graph) -> list[Linear]:
    return [layer for node in graph.by_op["MatMul"] if isinstance(layer := linear(graph, node), Linear)]


def rounding_errors(graph: Graph) -> list[float]:
    """Of each product whose data lie on one grid and whose weights on one for each output channel."""
    layers = products(graph)
    read = run_graph(replace(graph, outputs=tuple(layer.data_value for layer in layers)), fed(1))
    found = []
    for layer, data in zip(layers, read, strict=True):
        weight = layer.weight.array
        wanted = data.astype(np.float64) @ weight
        rounded = symmetric(np.abs(data).max()).snapped(data).astype(np.float64)
        error = rounded @ symmetric(np.abs(weight).max(axis=0), axes=(1,)).snapped(weight) - wanted
        found.append(float(np.linalg.norm(error) / np.linalg.norm(wanted)))
    return found


def weights(*shape: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def outliers(size: float = 60.0) -> NDArray[np.float32]:
    """About one but for two channels."""
    gamma = 1 + 0.1 * weights(WIDTH, seed=5)
    gamma[[3, 11]] *= size
    return gamma


def norm(x: Any, epsilon: float, gamma: NDArray[np.float32] | None = None) -> Any:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    scale = outliers() if gamma is None else gamma
    return tf.nn.batch_normalization(x, mean, variance, weights(WIDTH, seed=6), scale, epsilon)


def kernel(columns: int, seed: int) -> NDArray[np.float32]:
    """Of a product that has learned to read large channels with small weights."""
    return weights(WIDTH, columns, seed=seed) / outliers()[:, None]


def heads(x: Any, count: int = 3) -> list[Any]:
    """Query, key and value."""
    return [tf.tanh(0.1 * tf.matmul(x, kernel(8, seed))) for seed in range(count)]


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3], ids=["plain", "for the kernel of oneDNN"])
def test_a_layer_norm_takes_the_factors_of_query_key_and_value(epsilon: float) -> None:
    before = graph_of(lambda x: heads(norm(x, epsilon)))
    assert ("SquaredDifference" in before.by_op) is (epsilon == 1e-3)
    outcome = smoothed(before)
    after = outcome.model.graph
    assert len(after) == len(before)
    assert_computes_the_same(before, after)
    ratios = {
        tuple(np.round(new.weight.array[:, 0] / old.weight.array[:, 0], 3)) for old, new in matched(before, after)
    }
    assert len(ratios) == 1, "products that read one value are scaled alike"
    for old, new in zip(rounding_errors(before), rounding_errors(after), strict=True):
        assert new < old / 8
    assert [finding.done for finding in outcome.findings] == [True]


def matched(before: Graph, after: Graph) -> list[tuple[Linear, Linear]]:
    return list(zip(products(before), products(after), strict=True))


def test_a_given_alpha_is_taken() -> None:
    before = graph_of(lambda x: heads(norm(x, 1e-12), 1))
    ((old, new),) = matched(before, smoothed(before, alpha=0.5).model.graph)
    layer_norm = replace(before, outputs=(old.data_value,))
    largest, rows = np.abs(run_graph(layer_norm, fed())[0]).max(axis=0), np.abs(old.weight.array).max(axis=1)
    factor = np.sqrt(largest / rows)
    made = new.weight.array[:, 0] / old.weight.array[:, 0]
    np.testing.assert_allclose(made / made[0], factor / factor[0], rtol=1e-4)


def test_where_a_residual_sum_reads_it_too_the_products_get_one_of_their_own() -> None:
    def block(x: Any) -> list[Any]:
        normed = norm(x, 1e-12)
        return [normed + tf.matmul(tf.reshape(normed, [-1, WIDTH]), kernel(WIDTH, 1))]

    before = graph_of(block)
    outcome = smoothed(before)
    after = outcome.model.graph
    assert len(after.by_op["Mul"]) == len(before.by_op["Mul"]) + 1
    assert_computes_the_same(before, after)
    assert rounding_errors(after)[0] < rounding_errors(before)[0] / 8
    left = smoothed(before, multiply=False)
    assert left.model.graph is before
    assert "only a product of its own" in left.findings[0].message


def test_the_layer_before_takes_the_factors_through_its_activation() -> None:
    def block(x: Any) -> list[Any]:
        wide = tf.nn.bias_add(tf.matmul(x, weights(WIDTH, WIDTH, seed=1) * outliers()), weights(WIDTH, seed=2))
        return [tf.tanh(0.01 * tf.matmul(tf.nn.relu(wide), kernel(4, 3)))]

    before = graph_of(block)
    outcome = smoothed(before)
    after = outcome.model.graph
    assert len(after) == len(before)
    assert_computes_the_same(before, after)
    assert rounding_errors(after)[1] < rounding_errors(before)[1] / 4


def test_convolutions_take_and_give_factors_too() -> None:
    def block(x: Any) -> list[Any]:
        image = tf.reshape(x, [-1, 4, 4, 1])
        wide = tf.nn.conv2d(image, weights(3, 3, 1, WIDTH, seed=1) * outliers(), 1, "SAME")
        wide = tf.nn.relu(tf.nn.bias_add(wide, weights(WIDTH, seed=2)))
        narrow = tf.nn.relu(tf.nn.depthwise_conv2d(wide, weights(3, 3, WIDTH, 1, seed=3), [1, 1, 1, 1], "SAME"))
        return [tf.tanh(0.1 * tf.nn.conv2d(narrow, kernel(4, 4)[None, None], 1, "SAME"))]

    before = graph_of(block)
    outcome = smoothed(before)
    after = outcome.model.graph
    assert len(after) == len(before)
    assert_computes_the_same(before, after)
    assert [finding.done for finding in outcome.findings] == [False, True, True]
    (last,) = (node for node in before if node.op == "Conv2D" and node.name.endswith("_1"))
    largest = []
    for graph in (before, after):
        data = run_graph(replace(graph, outputs=(last.inputs[0],)), fed())[0].reshape(-1, WIDTH).max(axis=0)
        largest.append(float(data.max() / np.median(data)))
    assert largest[1] < largest[0] / 4


def test_a_bias_stays_a_vector_where_a_layer_reads_every_place_of_it() -> None:
    def block(x: Any) -> list[Any]:
        image = tf.reshape(x, [-1, 2, 2, 4]) * weights(4, seed=1)
        flat = tf.reshape(tf.nn.bias_add(image * weights(2, 2, 4, seed=2), weights(4, seed=3)), [-1, WIDTH])
        return [tf.matmul(flat * outliers(), kernel(4, 4)), tf.matmul(flat * outliers(), kernel(4, 5))]

    before = graph_of(block)
    assert_computes_the_same(before, smoothed(before).model.graph)


def test_a_gelu_stays_the_one_that_runtimes_know() -> None:
    def block(x: Any) -> list[Any]:
        wide = tf.matmul(x, weights(WIDTH, WIDTH, seed=1) * outliers())
        half = 0.5 * wide
        return [tf.matmul(half * (1.0 + tf.math.erf(wide * np.float32(0.5**0.5))), kernel(4, 3))]

    before = graph_of(block)
    after = smoothed(before).model.graph
    (erf,) = after.by_op["Erf"]
    assert before["Erf"] is after["Erf"] is erf
    factors = [c.array.size for node in after.by_op["Mul"] for v in node.inputs if (c := after.constant(v)) is not None]
    assert sorted(factors) == [1, 1, WIDTH]
    assert_computes_the_same(before, after)


def test_what_needs_nothing_is_left() -> None:
    graph = graph_of(lambda x: [tf.matmul(x, weights(WIDTH, 4, seed=1))])
    outcome = smoothed(graph)
    assert outcome.model.graph is graph
    assert "is not worth them" in outcome.findings[0].message


class NothingObserved:
    def observe(self, model: Model, values: Collection[Value]) -> Mapping[Value, Observed]:
        return {}


def test_what_no_sample_reaches_or_is_not_finite_is_left() -> None:
    graph = graph_of(lambda x: heads(norm(x, 1e-12)))
    unseen = steps()["smooth"].run_model(Model(graph, {}), {}, {Statistics: NothingObserved()})
    assert unseen.model.graph is graph
    assert "no sample reaches" in unseen.findings[0].message
    broken = FedStatistics({"x": np.where(fed()["x"] > 2, np.inf, fed()["x"])})
    outcome = steps()["smooth"].run_model(Model(graph, {}), {}, {Statistics: broken})
    assert outcome.model.graph is graph
    assert "not finite" in outcome.findings[0].message


def test_too_few_samples_say_nothing_of_single_channels() -> None:
    graph = graph_of(lambda x: heads(norm(x, 1e-12)))
    few = FedStatistics({"x": fed()["x"][:20]})
    outcome = steps()["smooth"].run_model(Model(graph, {}), {}, {Statistics: few})
    assert outcome.model.graph is graph
    assert "the samples have 20 rows" in outcome.findings[0].message


def test_a_shared_weight_is_left() -> None:
    def twice(x: Any) -> list[Any]:
        kernel = tf.constant(weights(WIDTH, 4, seed=1))
        return [tf.matmul(norm(x, 1e-12), kernel), tf.matmul(x, kernel)]

    graph = graph_of(twice)
    outcome = smoothed(graph)
    assert outcome.model.graph is graph
    assert all("not that layer's alone" in finding.message for finding in outcome.findings)


def test_a_quantized_model_is_left() -> None:
    graph = graph_of(lambda x: heads(norm(x, 1e-12)))
    gridded = replace(graph, grids={Value("x"): symmetric(1.0)})
    outcome = smoothed(gridded)
    assert outcome.model.graph is gridded
    assert "already quantized" in outcome.findings[0].message


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(InvalidRecipe, match="alpha"):
        smoothed(graph_of(lambda x: heads(x)), alpha=alpha)


@pytest.mark.parametrize(
    ("builder", "width", "done"),
    # The first layer norm of the other one has no scale of its own any more: it is in the weights behind it.
    [(encoder, 8, 2), (models.transformer, 16, 1)],
    ids=["post-norm", "pre-norm"],
)
def test_what_the_exact_recipe_makes_of_a_transformer(
    built: Callable[[Builder], Path], builder: Builder, width: int, done: int
) -> None:
    _, model = exact(built(builder))
    feeds = feeds_for(model.graph, unknown=12)
    before = model.with_graph(with_outliers(model.graph, width))
    outcome = steps()["smooth"].run_model(before, {}, {Statistics: FedStatistics(feeds)})
    verify(outcome.model.graph)
    assert sum(finding.done for finding in outcome.findings) >= done, outcome.findings
    for wanted, made in zip(run_graph(before.graph, feeds), run_graph(outcome.model.graph, feeds), strict=True):
        np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5 * float(np.max(np.abs(wanted))))


def with_outliers(graph: Graph, width: int) -> Graph:
    """Some channels of each layer norm large, and read by small weights."""
    size = np.where(np.arange(width) % 5, 1, 100).astype(np.float32)
    editor = Editor(graph)
    for node in graph.by_op["Const"]:
        readers = {reader.op for reader in graph.readers[node.value()]}
        array = node.tensor.array
        if array.shape == (width,) and readers == {"Mul"}:
            editor.update(node.with_attrs(value=Tensor(array * size)))
        elif array.ndim == 2 and array.shape[0] == width and readers == {"MatMul"}:
            editor.update(node.with_attrs(value=Tensor(array / size[:, None])))
    return editor.finish()


def drawn_layer(draw: st.DrawFn, known: list[Any]) -> Any:
    x, other = known[-1], draw(st.sampled_from(known))
    seed = draw(st.integers(0, 99))
    wild = 10 ** np.random.default_rng(seed).uniform(-1.5, 1.5, WIDTH).astype(np.float32)
    makers: list[Callable[[], Any]] = [
        lambda: tf.matmul(x, weights(WIDTH, WIDTH, seed=seed) * wild / WIDTH),
        lambda: tf.matmul(x, weights(WIDTH, WIDTH, seed=seed) / WIDTH),
        lambda: norm(x, draw(st.sampled_from([1e-6, 1e-3])), wild),
        lambda: tf.nn.bias_add(x, weights(WIDTH, seed=seed)),
        lambda: x * wild,
        lambda: wild - x,
        lambda: tf.nn.relu(x),
        lambda: x + other,
        lambda: x * tf.nn.relu(other),
        lambda: tf.reshape(x, [-1, WIDTH]),
    ]
    return draw(st.sampled_from(makers))()


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    def layers(x: Any) -> list[Any]:
        known = [x]
        for _ in range(draw(st.integers(1, 8))):
            known.append(drawn_layer(draw, known))
        last = tf.matmul(known[-1], weights(WIDTH, 3, seed=100))
        return [last, *draw(st.lists(st.sampled_from(known), max_size=1))]

    return graph_of(layers)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(networks())
def test_random_networks_compute_the_same(graph: Graph) -> None:
    outcome = steps()["smooth"].run_model(Model(graph, {}), {}, {Statistics: FedStatistics(fed())})
    verify(outcome.model.graph)
    wanted, made = run_graph(graph, fed(1)), run_graph(outcome.model.graph, fed(1))
    for one, other in zip(wanted, made, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * max(1.0, float(np.max(np.abs(one), initial=0))))
