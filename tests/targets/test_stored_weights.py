"""Weights stored in few bits: a fraction of the bytes, and nothing left to do in a call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.targets.on_grids import drawn
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model, Value
from tfopt.ir.types import DType
from tfopt.passes.fold_constants import fold_constants
from tfopt.passes.quantize_weights import quantize_weights
from tfopt.passes.store_float16 import store_float16
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.runtimes.tensorflow_trace import TensorFlowTracer
from tfopt.store.size import measure_size
from tfopt.targets.native import write_native_saved_model
from tfopt.targets.saved_model import write_saved_model

KEY = "serving_default"
#: What would make a weight float in every call.
DECODING = {"Cast", "ConcatV2", "Mul"}


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Some channels much larger than others."""
    drawn = np.random.default_rng(seed).standard_normal(shape) * np.geomspace(0.01, 10, shape[-1])
    return drawn.astype(np.float32)


def convolutions(x: tf.Tensor) -> tf.Tensor:
    x = tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 16, 256), 1, "SAME"))
    x = tf.nn.depthwise_conv2d(x, weights(3, 3, 256, 2, seed=1), [1, 1, 1, 1], "VALID")
    return tf.nn.conv2d_transpose(x, weights(2, 2, 20, 512, seed=2), [2, 8, 8, 20], 2, "VALID")


def products(x: tf.Tensor) -> tf.Tensor:
    """The first weight has more bytes than TensorFlow's executor makes, and the second is transposed."""
    x = tf.nn.relu(tf.matmul(x, weights(64, 41_000)))
    return tf.matmul(x, weights(40, 41_000, seed=1), transpose_b=True)


MODELS = {
    "convolutions": drawn(convolutions, {"x": np.zeros((2, 6, 6, 16), np.float32)}),
    "products": drawn(products, {"x": np.zeros((2, 64), np.float32)}),
}
INPUTS = {
    "convolutions": {"x": np.random.default_rng(0).standard_normal((2, 6, 6, 16)).astype(np.float32)},
    "products": {"x": np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)},
}


def written(model: Model, directory: Path) -> Path:
    write = write_native_saved_model if model.graph.grids else write_saved_model
    return write(model, directory).path


@pytest.mark.parametrize("step", [quantize_weights, store_float16], ids=lambda step: str(step.name))
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_made_float_when_they_are_loaded(name: str, step: object, tmp_path: Path) -> None:
    float_ = written(MODELS[name], tmp_path / "float")
    stored = written(step.run_model(MODELS[name]).model, tmp_path / "stored")  # type: ignore[attr-defined]  # a Step
    share = measure_size(stored).bytes / measure_size(float_).bytes
    assert share < (0.30 if step is quantize_weights else 0.52)
    with TensorFlowRuntime(float_) as first, TensorFlowRuntime(stored) as second:
        expected, found = (runtime.run(KEY, INPUTS[name])["y0"] for runtime in (first, second))
    assert np.linalg.norm(found - expected) <= (0.02 if step is quantize_weights else 1e-3) * np.linalg.norm(expected)
    ran = {op.op for op in TensorFlowTracer(stored, threads=1).trace(KEY, INPUTS[name], repeats=2).ops}
    assert ran
    assert not ran & DECODING


def test_what_is_computed_is_what_was_decided(tmp_path: Path) -> None:
    decided = quantize_weights.run_model(MODELS["convolutions"]).model
    with ModelRunner(decided) as first, TensorFlowRuntime(written(decided, tmp_path / "stored")) as second:
        expected, found = (runtime.run(KEY, INPUTS["convolutions"])["y0"] for runtime in (first, second))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_they_are_weights_again_when_the_model_is_read(tmp_path: Path) -> None:
    decided = quantize_weights.run_model(MODELS["products"]).model
    graph = fold_constants.run(
        read_saved_model(written(decided, tmp_path / "stored")).graph, {"max_bytes": 1 << 30}
    ).graph
    layers = graph.by_op["MatMul"]
    assert len(layers) == 2
    for layer, before in zip(layers, decided.graph.by_op["MatMul"], strict=True):
        weight, expected = graph.constant(layer.inputs[1]), decided.graph.constant(before.inputs[1])
        assert weight is not None
        assert expected is not None
        np.testing.assert_array_equal(weight.array, expected.array)


def test_tables_of_halves_give_rows_of_floats(tmp_path: Path) -> None:
    table = weights(3000, 16)
    rows = np.array([0, 2999, 17], np.int32)

    def draw(x: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(table), tf.cast(x, tf.int32))

    model = drawn(draw, {"x": np.zeros(3, np.float32)})
    stored = store_float16.run_model(model).model
    tables = [node for node in stored.graph.by_op["Const"] if node.tensor.array.size > 1000]
    assert [node.tensor.dtype for node in tables] == [DType.FLOAT16]
    with TensorFlowRuntime(written(stored, tmp_path / "stored")) as runtime:
        found = runtime.run(KEY, {"x": rows.astype(np.float32)})["y0"]
    np.testing.assert_array_equal(found, table[rows].astype(np.float16).astype(np.float32))


def test_weights_that_are_outputs_stay_what_they_are() -> None:
    model = drawn(
        lambda x: [tf.matmul(x, tf.constant(weights(64, 64), name="w")), tf.identity(x)], {"x": np.zeros((2, 64))}
    )
    outputs = (*model.graph.outputs, Value("w"))
    from dataclasses import replace

    held = model.with_graph(replace(model.graph, outputs=outputs))
    outcome = quantize_weights.run_model(held)
    assert outcome.model is held
    assert [finding.message for finding in outcome.findings] == ["its weight stays float: its weight is an output too"]
