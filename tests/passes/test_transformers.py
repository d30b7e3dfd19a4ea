"""What the exact recipe makes of a transformer: matrices of rows with what TensorFlow fuses right behind them."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import models
from tests.conftest import Builder
from tests.running import feeds_for, run_graph
from tfopt.formats.graph_def import from_graph_def
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Graph, Model, Value
from tfopt.passes.registry import steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.targets.saved_model import write_saved_model
from tfopt.targets.tflite import write_tflite

LENGTH, WIDTH, HEADS = 5, 8, 2


def encoder(directory: Path) -> Path:
    """As Hugging Face's port writes one layer, batch and length unknown: Tensordot, a layer norm whose axis counts
    from the front and whose epsilon is 1e-12, scores divided by a root, 1e-9 before the softmax, GELU by erf."""
    module = tf.Module()
    names = ("query", "key", "value", "output", "wide", "narrow")
    shapes = [(WIDTH, WIDTH)] * 4 + [(WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]
    drawn = [0.3 * models.weights(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    module.kernels = [tf.Variable(kernel, name=name) for name, kernel in zip(names, drawn, strict=True)]
    module.biases = [tf.Variable(models.weights(shape[1], seed=9), name="bias") for shape in shapes]
    module.gamma = tf.Variable(models.weights(WIDTH, seed=10) + 1)
    module.beta = tf.Variable(models.weights(WIDTH, seed=11))
    layers = dict(zip(names, zip(module.kernels, module.biases, strict=True), strict=True))

    def dense(name: str, x: tf.Tensor) -> tf.Tensor:
        kernel, bias = layers[name]
        return tf.nn.bias_add(tf.tensordot(x, kernel, [[2], [0]]), bias)

    def norm(x: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, [2], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, module.beta, module.gamma, 1e-12)

    def heads(x: tf.Tensor) -> tf.Tensor:
        return tf.transpose(tf.reshape(x, (tf.shape(x)[0], -1, HEADS, WIDTH // HEADS)), [0, 2, 1, 3])

    @tf.function(
        input_signature=[models.floats(None, None, WIDTH, name="x"), tf.TensorSpec([None, None], tf.int32, "mask")]
    )
    def serve(x: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        x = norm(0.01 * x)
        query, key, value = (heads(dense(name, x)) for name in ("query", "key", "value"))
        scores = tf.matmul(query, key, transpose_b=True) / tf.sqrt(float(WIDTH // HEADS))
        scores += (1.0 - tf.cast(mask[:, tf.newaxis, tf.newaxis, :], tf.float32)) * -1e4
        context = tf.transpose(tf.matmul(tf.nn.softmax(scores + 1e-9), value), [0, 2, 1, 3])
        x = norm(dense("output", tf.reshape(context, (tf.shape(x)[0], -1, WIDTH))) + x)
        wide = dense("wide", x)
        wide *= 0.5 * (1.0 + tf.math.erf(wide / sqrt(2.0)))
        return {"hidden": norm(dense("narrow", wide) + x)}

    return models.save(module, directory, serving_default=serve)


def exact(path: Path) -> tuple[Model, Model]:
    before = read_saved_model(path)
    return before, run_pipeline(before, load_recipe("exact"), probe=None, tell=lambda *_: None).model


BUILDERS = [models.transformer, encoder]


def inputs(model: Model) -> dict[str, np.ndarray]:
    drawn = feeds_for(model.graph, unknown=LENGTH)
    return {name: drawn[entry.node] for name, entry in model.signatures["serving_default"].inputs.items()}


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: b.__name__)
def test_products_of_rows_stand_before_what_is_fused_with_them(
    built: Callable[[Builder], Path], builder: Builder
) -> None:
    before, after = exact(built(builder))
    graph = after.graph
    (erf,) = graph.by_op["Erf"]
    bias = graph.producer(graph.producer(erf.inputs[0]).inputs[0])
    assert (bias.op, graph.producer(bias.inputs[0]).op) == ("BiasAdd", "MatMul")
    assert not {"Erfc", "Neg", "RealDiv"} & graph.by_op.keys()
    # oneDNN's layer norm takes Keras' epsilon alone, and is made of the squared differences.
    assert ("SquaredDifference" in graph.by_op) is (builder is models.transformer)
    assert all(graph.producer(node.inputs[0]).op != "Reshape" for node in graph.by_op["BiasAdd"])
    assert all(len(graph.type_of(node.inputs[1]).shape.dims or ()) > 2 for node in graph.by_op.get("BatchMatMulV2", ()))
    with ModelRunner(before) as plain, ModelRunner(after) as ours:
        made = ours.run("serving_default", inputs(before))
        for name, wanted in plain.run("serving_default", inputs(before)).items():
            np.testing.assert_allclose(made[name], wanted, rtol=0, atol=1e-5 * float(np.max(np.abs(wanted))))


def test_query_key_and_value_are_one_product_and_one_transpose(built: Callable[[Builder], Path]) -> None:
    _, after = exact(built(encoder))
    (parts,) = after.graph.by_op["Unpack"]
    assert len(parts.outputs) == 3
    assert after.graph.producer(parts.inputs[0]).op == "Transpose"
    assert len(after.graph.by_op["MatMul"]) == 4
    assert len(after.graph.by_op["Transpose"]) == 2


def test_epsilon_is_the_models_own(built: Callable[[Builder], Path], tmp_path: Path) -> None:
    """TensorFlow's own optimizer takes 0.001 in its place where it knows the layer norm."""
    before, after = exact(built(encoder))
    with ModelRunner(before) as plain, TensorFlowRuntime(write_saved_model(after, tmp_path / "model").path) as ours:
        wanted = plain.run("serving_default", inputs(before))["hidden"]
        made = ours.run("serving_default", inputs(before))["hidden"]
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: b.__name__)
def test_transformers_convert_without_tensorflows_own_kernels(
    built: Callable[[Builder], Path], builder: Builder, tmp_path: Path
) -> None:
    before, after = exact(built(builder))
    artifact = write_tflite(after, tmp_path / "model.tflite")
    assert b"FlexErf" not in artifact.path.read_bytes()
    with ModelRunner(before) as plain, LiteRTRuntime(artifact.path) as lite:
        made = lite.run("serving_default", inputs(before))
        for name, wanted in plain.run("serving_default", inputs(before)).items():
            np.testing.assert_allclose(made[name], wanted, rtol=0, atol=1e-4)


def times(draw: st.DrawFn, *factors: object) -> tf.Tensor:
    """The product in any order, a number sometimes as a divisor."""
    value, *rest = draw(st.permutations(factors))
    for factor in rest:
        if isinstance(factor, float) and not isinstance(value, float) and draw(st.booleans()):
            value = value / (1 / factor)
        else:
            value = factor * value if draw(st.booleans()) else value * factor
    return value


def plus(draw: st.DrawFn, left: object, right: object) -> tf.Tensor:
    return left + right if draw(st.booleans()) else right + left


def spelled(draw: st.DrawFn, x: tf.Tensor) -> tf.Tensor:
    kind = draw(st.sampled_from(["erf", "erfc", "pow", "square", "product"]))
    if kind == "erfc":
        return times(draw, x, 0.5, tf.math.erfc(times(draw, -x, sqrt(0.5))))
    if kind == "erf":
        curve = tf.math.erf(times(draw, x, sqrt(0.5)))
    else:
        cube = {
            "pow": lambda: tf.pow(x, 3),
            "square": lambda: times(draw, x, tf.square(x)),
            "product": lambda: x * x * x,
        }
        curve = tf.tanh(times(draw, plus(draw, x, times(draw, cube[kind](), 0.044715)), sqrt(2 / pi)))
    return times(draw, x, 0.5, plus(draw, 1.0, curve))


@settings(max_examples=40)
@given(st.data())
def test_gelu_is_known_however_it_is_spelled(data: st.DataObject) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 6], "x")
        tf.identity(data.draw(st.composite(spelled)(x)), "y")
    before: Graph = from_graph_def(graph.as_graph_def(), inputs=("x",), outputs=(Value("y"),))
    folded = steps()["fold_constants"].run(before).graph
    outcome = steps()["fuse_gelu"].run(folded)
    after = outcome.graph
    assert all(finding.done for finding in outcome.findings)
    (curve,) = (*after.by_op.get("Erf", ()), *after.by_op.get("Tanh", ()))
    assert len(after.by_op["Mul"]) == (3 if curve.op == "Erf" else 6)
    assert steps()["fuse_gelu"].run(after).graph is after
    fed = {"x": np.linspace(-6, 6, 24, dtype=np.float32).reshape(4, 6)}
    np.testing.assert_allclose(run_graph(after, fed)[0], run_graph(before, fed)[0], atol=2e-6)
