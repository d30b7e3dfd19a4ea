"""Ops that no pass knows: carried as they are through the exact recipe, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from tests import models
from tfopt.compression import Refused, compress
from tfopt.formats.saved_model import read_saved_model
from tfopt.runtimes.tensorflow import TensorFlowRuntime

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
X = [tf.TensorSpec([2, 3], tf.float32, "x")]
#: What JAX exports: a program of its own in an attribute.
TWICE = """
module @m {
  func.func public @main(%arg0: tensor<2x3xf32>) -> tensor<2x3xf32> {
    %0 = stablehlo.add %arg0, %arg0 : tensor<2x3xf32>
    return %0 : tensor<2x3xf32>
  }
}
"""


def saved(directory: Path, function: Callable[[tf.Tensor], tf.Tensor]) -> Path:
    serve = tf.function(lambda x: {"y": function(x)}, input_signature=X)
    return models.save(tf.Module(), directory, serving_default=serve)


def assert_carried(path: Path, op: str) -> None:
    (node,) = read_saved_model(path).graph.by_op[op]
    compressed = compress(path, path.with_name("compressed")).path
    (kept,) = read_saved_model(compressed).graph.by_op[op]
    assert kept.attrs == node.attrs
    with TensorFlowRuntime(path) as original, TensorFlowRuntime(compressed) as written:
        expected = original.run("serving_default", {"x": ROWS})["y"]
        np.testing.assert_array_equal(written.run("serving_default", {"x": ROWS})["y"], expected)
    loaded = tf.saved_model.load(str(compressed)).signatures["serving_default"]
    assert loaded(x=tf.constant(ROWS))["y"].shape == expected.shape


def test_a_program_in_an_attribute(tmp_path: Path) -> None:
    def twice(x: tf.Tensor) -> tf.Tensor:
        made = xla.call_module(
            [x], version=5, module=TWICE, Tout=[tf.float32], Sout=[tf.TensorShape([2, 3])], platforms=["CPU"]
        )
        return made[0] + 0.0

    assert_carried(saved(tmp_path / "m", twice), "XlaCallModule")


def test_random_numbers_from_a_seed(tmp_path: Path) -> None:
    def noisy(x: tf.Tensor) -> tf.Tensor:
        return x + tf.raw_ops.RandomUniform(shape=tf.shape(x), dtype=tf.float32, seed=3, seed2=4)

    assert_carried(saved(tmp_path / "m", noisy), "RandomUniform")


def test_random_numbers_without_a_seed_are_named(tmp_path: Path) -> None:
    def noisy(x: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.reduce_sum(x) > 1e9,
            lambda: x,
            lambda: x + tf.raw_ops.RandomStandardNormal(shape=tf.shape(x), dtype=tf.float32, name="noise"),
        )

    path = saved(tmp_path / "m", noisy)
    with pytest.raises(Refused, match=r"RandomStandardNormal \S*noise draws random numbers.*give the operation a seed"):
        compress(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
