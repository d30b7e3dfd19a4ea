"""Matrix products whose data is rounded as it comes, executed by stock TensorFlow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.targets.on_grids import drawn
from tfopt.ir import Model
from tfopt.passes.quantize_dynamic import quantize_dynamic
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.targets.native import write_native_saved_model
from tfopt.targets.native_lowering.dynamic import with_dynamic_products

KEY = "serving_default"
RNG = np.random.default_rng(0)
FIRST = (RNG.standard_normal((100, 203)) / 10).astype(np.float32)
SECOND = (RNG.standard_normal((170, 203)) / 14).astype(np.float32)
BIAS = RNG.standard_normal(203).astype(np.float32)


def block(x: tf.Tensor) -> tf.Tensor:
    """Two layers that read one tensor, a bias, GELU, a weight that is transposed, a sum and Relu; odd sizes."""
    y = tf.nn.gelu(tf.nn.bias_add(tf.matmul(x, FIRST), BIAS))
    z = tf.matmul(y, SECOND, transpose_b=True)
    return tf.nn.relu(z + tf.matmul(x, FIRST[:, :170]))


def model() -> Model:
    return drawn(block, {"x": np.zeros((2, 100), np.float32)})


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Of magnitudes from a thousandth to a thousand."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, 100)) * 10.0 ** rng.uniform(-3, 3, (count, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def decided() -> Model:
    return quantize_dynamic.run_model(model()).model


def run(model: Model, x: np.ndarray, threads: int = 1) -> np.ndarray:
    with ModelRunner(model, threads=threads) as runner:
        return np.asarray(runner.run(KEY, {"x": x})["y0"])


@pytest.mark.parametrize(("count", "threads"), [(1, 1), (5, 4), (64, 1), (64, 4)])
def test_every_row_is_near_float(decided: Model, count: int, threads: int) -> None:
    lowered = decided.with_graph(with_dynamic_products(decided.graph))
    assert not lowered.graph.by_op.get("MatMul")
    x = rows(count)
    found, expected = run(lowered, x, threads), run(model(), x, threads)
    errors = np.linalg.norm(found - expected, axis=1) / np.maximum(np.linalg.norm(expected, axis=1), 0.01)
    assert errors.max() < 0.04
    assert errors.max() > 0


def test_answers_do_not_depend_on_the_batch(decided: Model) -> None:
    lowered = decided.with_graph(with_dynamic_products(decided.graph))
    x = rows(9)
    together = run(lowered, x)
    for place in range(len(x)):
        np.testing.assert_allclose(run(lowered, x[place : place + 1])[0], together[place], rtol=1e-5, atol=1e-5)


def test_rows_of_zeros_and_without_numbers(decided: Model) -> None:
    lowered = decided.with_graph(with_dynamic_products(decided.graph))
    x = rows(4)
    plain = run(lowered, x)
    x[1], x[2, 3] = 0, np.nan
    found, expected = run(lowered, x), run(model(), x)
    np.testing.assert_allclose(found[1], expected[1], atol=0.02)
    np.testing.assert_array_equal(found[[0, 3]], plain[[0, 3]])
    assert np.isnan(expected[2]).any()
    assert not np.isfinite(found[2]).all()
    assert run(lowered, x[:0]).shape == (0, 170)


def test_the_artifact_says_what_it_needs_and_stands_parallel_calls(decided: Model, tmp_path: Path) -> None:
    artifact = write_native_saved_model(decided, tmp_path / "model")
    assert artifact.requires == ("oneDNN", "VNNI")
    assert artifact.notes == ()
    with TensorFlowRuntime(artifact.path, threads=2) as runtime, ThreadPoolExecutor(8) as pool:
        x = rows(16)
        expected = runtime.run(KEY, {"x": x})["y0"]
        for found in pool.map(lambda _: runtime.run(KEY, {"x": x})["y0"], range(64)):
            np.testing.assert_array_equal(found, expected)
