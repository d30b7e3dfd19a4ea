"""Artifacts beyond `tests.models` that a bench can be given; builders for the fixture `built`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests import models


def linear_tflite(directory: Path) -> Path:
    return _converted(models.linear, directory)


def classifier_tflite(directory: Path) -> Path:
    return _converted(models.classifier, directory)


def linear_version(directory: Path) -> Path:
    """A version directory with both artifacts."""
    models.linear(directory)
    linear_tflite(directory.with_name("scratch")).rename(directory / "model.tflite")
    return directory


def wrong_linear(directory: Path) -> Path:
    """`models.linear` with a bias that is one too large."""
    module = tf.Module()
    module.w = tf.Variable(models.weights(3, 2))
    module.b = tf.Variable(models.weights(2, seed=1) + 1)

    @tf.function(input_signature=[models.floats(None, 3, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x @ module.w + module.b}

    return models.save(module, directory, serving_default=serve)


def unlike_linear(directory: Path) -> Path:
    """The inputs of `models.linear`, another output."""

    @tf.function(input_signature=[models.floats(None, 3, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"z": x}

    return models.save(tf.Module(), directory, serving_default=serve)


def sequence(directory: Path) -> Path:
    """x float32[?,?,3] -> y float32[?,3]: the mean over a length that is open."""

    @tf.function(input_signature=[models.floats(None, None, 3, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reduce_mean(x, 1)}

    return models.save(tf.Module(), directory, serving_default=serve)


def any_rank(directory: Path) -> Path:
    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + 1.0}

    return models.save(tf.Module(), directory, serving_default=serve)


def batch_of_four(directory: Path) -> Path:
    @tf.function(input_signature=[models.floats(4, 3, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * 2.0}

    return models.save(tf.Module(), directory, serving_default=serve)


def unnamed_signatures(directory: Path) -> Path:
    """Two signatures, neither of them serving_default."""

    @tf.function(input_signature=[models.floats(None, 3, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + 1.0}

    return models.save(tf.Module(), directory, encode=serve, decode=serve)


def images(count: int) -> dict[str, np.ndarray]:
    """Samples for `models.classifier`."""
    return {"image": np.random.default_rng(3).random((count, 8, 8, 3)).astype(np.float32)}


def _converted(builder: Callable[[Path], Path], directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    model = builder(directory / "saved_model")
    path = directory / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(model)).convert())
    return path
