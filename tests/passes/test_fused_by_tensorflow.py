"""TensorFlow runs fused what the exact recipe writes. The ops are those of the graph that its own optimizer leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tfopt.formats.saved_model import read_saved_model
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.targets.saved_model import write_saved_model

v1 = tf.compat.v1
Function = Callable[[tf.Tensor], tf.Tensor]

#: Where the layer and what follows it stand: TensorFlow's optimizer sorts the operands of some ops by their names.
SCOPES = [("a", "z"), ("z", "a")]


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    return x * (tf.nn.relu6(3.0 + x) / 6.0)


def gelu_by_tanh(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=True)


def layer_norm(x: tf.Tensor, epsilon: float = 1e-6) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, models.weights(16), models.weights(16, seed=1), epsilon)


def layer_norm_of_keras(x: tf.Tensor) -> tf.Tensor:
    return layer_norm(x, 1e-3)


def dense(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.bias_add(x @ models.weights(8, 16), models.weights(16, seed=1))


def conv(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.bias_add(tf.nn.conv2d(x, models.weights(3, 3, 8, 16), 1, "SAME"), models.weights(16, seed=1))


@pytest.mark.parametrize("scopes", SCOPES, ids="-".join)
@pytest.mark.parametrize(
    ("layer", "activation", "fused"),
    [
        (dense, tf.nn.relu, "FusedMatMul+BiasAdd+Relu"),
        (conv, tf.nn.relu, "FusedConv2D+BiasAdd+Relu"),
        (conv, tf.nn.relu6, "FusedConv2D+BiasAdd+Relu6"),
    ],
)
def test_bias_and_relu_are_done_by_the_kernel_before(
    tmp_path: Path, layer: Function, activation: Function, fused: str, scopes: tuple[str, str]
) -> None:
    (op,) = exact_ops(tmp_path, layer, activation, scopes)
    assert op.endswith(fused)


@pytest.mark.parametrize("scopes", SCOPES, ids="-".join)
@pytest.mark.parametrize(
    ("layer", "activation", "fused"),
    [
        (dense, tf.nn.gelu, "FusedMatMul+BiasAdd+GeluExact"),
        (dense, gelu_by_tanh, "FusedMatMul+BiasAdd+GeluApproximate"),
        (conv, hard_swish, "FusedConv2D+BiasAdd+_FusedHardSwish"),
        (conv, tf.nn.silu, "FusedConv2D+BiasAdd+_MklSwish"),
    ],
)
def test_smooth_activations_are_done_by_onednn(
    tmp_path: Path, layer: Function, activation: Function, fused: str, scopes: tuple[str, str]
) -> None:
    require_onednn()
    (op,) = exact_ops(tmp_path, layer, activation, scopes)
    assert op.endswith(fused)


@pytest.mark.parametrize("scopes", SCOPES, ids="-".join)
def test_layer_norm_is_a_kernel_of_onednn(tmp_path: Path, scopes: tuple[str, str]) -> None:
    require_onednn()
    ops = exact_ops(tmp_path, dense, layer_norm_of_keras, scopes)
    assert sorted(ops) == ["_MklLayerNorm", "_MklNativeFusedMatMul+BiasAdd"]


def test_layer_norm_is_not_fused_with_another_epsilon(tmp_path: Path) -> None:
    """oneDNN's kernel for it takes 0.001 in the place of the model's."""
    require_onednn()
    ops = exact_ops(tmp_path, dense, layer_norm, SCOPES[0])
    assert "_MklNativeFusedMatMul+BiasAdd" in ops
    assert not [op for op in ops if "LayerNorm" in op]


def require_onednn() -> None:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2, 2])
        ops = run_ops(graph, tf.matmul(x, x).name, {x.name: np.eye(2, dtype=np.float32)})
    if "_MklMatMul" not in ops:
        pytest.skip("TensorFlow runs without oneDNN here (another CPU, or TF_ENABLE_ONEDNN_OPTS=0)")


def exact_ops(directory: Path, layer: Function, activation: Function, scopes: tuple[str, str]) -> list[str]:
    """What TensorFlow runs of a model of these two when the exact recipe is through with it."""
    shape = [None, 8] if layer is dense else [None, 6, 6, 8]

    @tf.function(input_signature=[models.floats(*shape, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.name_scope(scopes[0]):
            made = layer(x)
        with tf.name_scope(scopes[1]):
            return {"y": activation(made)}

    before = read_saved_model(models.save(tf.Module(), directory / "model", serving_default=serve))
    after = run_pipeline(before, load_recipe("exact"), probe=None, tell=lambda *_: None).model
    written = write_saved_model(after, directory / "exact").path
    with tf.Graph().as_default() as graph, v1.Session() as session:
        loaded = v1.saved_model.load(session, ["serve"], str(written)).signature_def["serving_default"]
        drawn = models.weights(*(4 if size is None else size for size in shape))
        return run_ops(graph, loaded.outputs["y"].name, {loaded.inputs["x"].name: drawn})


def run_ops(graph: tf.Graph, fetch: str, feed: dict[str, Any]) -> list[str]:
    """The ops of a run, with what is fused into them; constants, arguments and results aside."""
    metadata, options = v1.RunMetadata(), v1.RunOptions(output_partition_graphs=True)
    with v1.Session(graph=graph) as session:
        session.run(fetch, feed, options=options, run_metadata=metadata)
    nodes = [node for part in metadata.partition_graphs for node in part.node]
    return [kind(node) for node in nodes if node.op not in ("Const", "_Arg", "_Retval", "Identity")]


def kind(node: Any) -> str:
    fused = [op.decode() for op in node.attr["fused_ops"].list.s] if "fused_ops" in node.attr else []
    return "+".join([node.op, *fused])
