"""What Keras 3 exports for layers over sequences comes out as plain layers, once for both of its signatures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.conftest import Builder
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model
from tfopt.pipeline import largest_change, run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import ModelRunner

layers = tf.keras.layers


def _export(inputs: tf.Tensor, outputs: tf.Tensor, directory: Path) -> Path:
    model = tf.keras.Model(inputs, outputs)
    for seed, variable in enumerate(model.variables):
        variable.assign(models.weights(*variable.shape, seed=seed) * 0.5)
    model.export(str(directory), verbose=False)
    return directory


def dense_layers(directory: Path) -> Path:
    x = tf.keras.Input((5, 6), name="x")
    return _export(x, layers.Dense(3)(layers.Dense(8, activation="relu")(x)), directory)


def dense_layers_of_any_length(directory: Path) -> Path:
    x = tf.keras.Input((None, 6), name="x")
    return _export(x, layers.Dense(3)(layers.Dense(8, activation="tanh")(x)), directory)


def attention(directory: Path) -> Path:
    x = tf.keras.Input((None, 6), name="x")
    y = layers.MultiHeadAttention(2, 3)(x, x)
    return _export(x, layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(layers.add([x, y])), directory)


def exact(directory: Path) -> tuple[Model, Model]:
    model = read_saved_model(directory)
    return model, run_pipeline(model, load_recipe("exact")).model


@pytest.mark.parametrize("builder", [dense_layers, dense_layers_of_any_length, attention], ids=lambda b: b.__name__)
def test_nothing_but_layers_is_left(built: Callable[[Builder], Path], builder: Builder) -> None:
    before, after = exact(built(builder))
    assert len(after.graph.by_op["MatMul"]) == {"attention": 5}.get(builder.__name__, 2)
    assert not {"Prod", "Identity", "Pack"} & after.graph.by_op.keys()
    products = {node.name for node in after.graph.by_op["MatMul"]}
    assert all(node.inputs[0].node in products for node in after.graph.by_op["BiasAdd"])
    if builder is not attention:
        assert not {"Transpose", "Einsum"} & after.graph.by_op.keys()
        # Rows go through both layers as rows.
        assert len(after.graph.by_op["Reshape"]) == 2
    _assert_same(before, after)


def _assert_same(before: Model, after: Model) -> None:
    for shape in ((1, 5, 6), (3, 5, 6)):
        feed = {"x": models.weights(*shape, seed=3)}
        answers = []
        for model in (before, after):
            with ModelRunner(model) as runner:
                answers.append({key: runner.run(key, feed) for key in model.signatures})
        assert largest_change(answers[0], answers[1]) < 1e-5


def test_both_signatures_are_one_graph(built: Callable[[Builder], Path]) -> None:
    before, after = exact(built(attention))
    assert list(after.signatures) == list(before.signatures) == ["serving_default", "serve"]
    assert len(before.graph.inputs) == 2 and len(after.graph.inputs) == 1
    assert len(set(after.graph.outputs)) == 1


def test_an_empty_batch_stays_empty(built: Callable[[Builder], Path]) -> None:
    """A shape with an inferred dim cannot be told from nothing, unless the others say it."""
    _, after = exact(built(dense_layers))
    with ModelRunner(after) as runner:
        (made,) = runner.run("serving_default", {"x": np.zeros((0, 5, 6), np.float32)}).values()
    assert made.shape == (0, 5, 3)
