"""The exact passes on what Keras really exports: nothing of a batch normalisation is left, and nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.conftest import Builder
from tests.running import feeds_for, run_graph
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Graph
from tfopt.ir.linear import LINEAR
from tfopt.ir.verify import verify
from tfopt.passes.base import Finding
from tfopt.passes.registry import BUILTIN, steps

EXACT = tuple(name for name in BUILTIN if steps()[name].over == "graph" and steps()[name].exact)


def keras3_zoo(directory: Path) -> Path:
    """Every linear layer of Keras 3 that a batch normalisation follows, most with a bias."""
    layers = tf.keras.layers
    image = tf.keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(image))
    x = layers.SpatialDropout2D(0.2)(layers.ReLU(6.0)(x))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x))
    x = layers.ReLU()(layers.BatchNormalization(center=False)(layers.SeparableConv2D(6, 3, padding="same")(x)))
    y = layers.BatchNormalization()(layers.Conv2D(6, 1, use_bias=False)(x))
    x = layers.add([x, y])
    x = layers.ReLU()(layers.BatchNormalization(scale=False)(layers.Conv2DTranspose(4, 2, strides=2)(x)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, dilation_rate=2, groups=2)(x)))
    x = layers.Reshape((-1, 4))(x)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(5, 3)(x)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(6)(x)))
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    x = layers.BatchNormalization()(layers.Dense(6, activation="tanh")(x))  # goes into the layer behind it
    model = tf.keras.Model(image, layers.Dense(3, name="logits")(x))
    for seed, variable in enumerate(model.variables):
        if "seed" not in variable.path:
            drawn = models.weights(*variable.shape, seed=seed) * 0.5
            variable.assign(np.abs(drawn) + 0.5 if "variance" in variable.path else drawn)
    model.export(str(directory), verbose=False)
    return directory


def keras2_style(directory: Path) -> Path:
    """FusedBatchNormV3 behind a convolution with a bias, as Keras 2 exports it, read through an Identity."""
    module = tf.Module()
    module.kernel = tf.Variable(models.weights(3, 3, 2, 4))
    module.bias, module.gamma, module.beta, module.mean = (tf.Variable(models.weights(4, seed=s)) for s in range(4))
    module.variance = tf.Variable(np.abs(models.weights(4, seed=4)) + 0.5)

    @tf.function(input_signature=[models.floats(None, None, None, 2, name="image")])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.nn.bias_add(tf.nn.conv2d(image, module.kernel, 1, "SAME"), module.bias)
        statistics = {"mean": module.mean, "variance": module.variance, "epsilon": 1e-3, "is_training": False}
        x, _, _ = tf.compat.v1.nn.fused_batch_norm(tf.identity(x), module.gamma, module.beta, **statistics)
        return {"out": tf.nn.dropout(tf.nn.relu(x), rate=tf.constant(0.0))}

    return models.save(module, directory, serving_default=serve)


def exact(graph: Graph) -> tuple[Graph, list[Finding]]:
    """Two rounds of all exact passes in their usual order, and what fold_batch_norm and remove_dropout said."""
    findings: list[Finding] = []
    for name in EXACT * 2:
        outcome = steps()[name].run(graph)
        graph = outcome.graph
        findings += outcome.findings if name in ("fold_batch_norm", "remove_dropout") else ()
        verify(graph, name)
    return graph, findings


#: What a batch normalisation, a dropout or a frozen variable leaves in an export.
LEFTOVERS = {
    "Rsqrt",
    "Sub",
    "Mul",
    "FusedBatchNorm",
    "FusedBatchNormV2",
    "FusedBatchNormV3",
    "Identity",
    "RandomUniform",
}


@pytest.mark.parametrize("builder", [models.cnn_with_batch_norm, keras3_zoo, keras2_style], ids=lambda b: b.__name__)
def test_nothing_of_a_batch_normalisation_is_left(built: Callable[[Builder], Path], builder: Builder) -> None:
    before = read_saved_model(built(builder)).graph
    after, findings = exact(before)
    assert not LEFTOVERS & after.by_op.keys(), [f for f in findings if not f.done]
    assert [f for f in findings if not f.done] == []
    layers = [node for op in LINEAR for node in after.by_op.get(op, ())]
    assert len(after.by_op["BiasAdd"]) <= len(layers)
    # In the shape that TensorFlow fuses: the bias right behind its layer.
    assert all(after.producer(node.inputs[0]).op in LINEAR for node in after.by_op["BiasAdd"])
    feeds = feeds_for(before, unknown=6)
    for left, right in zip(run_graph(before, feeds), run_graph(after, feeds), strict=True):
        np.testing.assert_allclose(right, left, rtol=0, atol=1e-5 * float(np.max(np.abs(left))))


def test_equal_signatures_share_their_weights(built: Callable[[Builder], Path]) -> None:
    """Keras 3 writes each model twice, as `serve` and as `serving_default`."""
    model = read_saved_model(built(keras3_zoo))
    assert len(model.signatures) == 2
    before = sum(tensor.nbytes for tensor in {node.tensor for node in model.graph.by_op["Const"]})
    after, _ = exact(model.graph)
    assert sum(node.tensor.nbytes for node in after.by_op["Const"]) < before
    filters = [node.inputs[1] for node in after.by_op["Conv2D"]]
    assert len(set(filters)) * 2 == len(filters)
