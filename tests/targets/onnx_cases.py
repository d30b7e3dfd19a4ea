"""Structures of networks, put on grids, and how ONNX Runtime is asked about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from onnx import numpy_helper
from onnxruntime import GraphOptimizationLevel

from tests.targets import ir_models
from tests.targets.on_grids import calibrated, drawn
from tfopt.ir import Model

raw = tf.raw_ops
ALL, NONE = GraphOptimizationLevel.ORT_ENABLE_ALL, GraphOptimizationLevel.ORT_DISABLE_ALL
IMAGE = ir_models.normal(3, 8, 8, 4)
ROWS = ir_models.normal(16, 32)


def weights(*shape: int, seed: int = 3) -> tf.Tensor:
    return tf.constant(ir_models.normal(*shape, seed=seed) / np.sqrt(np.prod(shape[:-1]), dtype=np.float32))


def conv(x: tf.Tensor, size: int, channels: int, name: str, stride: int = 1, seed: int = 4) -> tf.Tensor:
    made = tf.nn.conv2d(x, weights(size, size, x.shape[-1], channels, seed=seed), stride, "SAME")
    return tf.nn.bias_add(made, weights(channels), name=name)


def dense(x: tf.Tensor, units: int, name: str, transposed: bool = False, seed: int = 3) -> tf.Tensor:
    matrix = weights(units, x.shape[-1]) if transposed else weights(x.shape[-1], units, seed=seed)
    return tf.nn.bias_add(tf.matmul(x, matrix, transpose_b=transposed), weights(units, seed=5), name=name)


def conv_relu(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu(conv(x, 3, 16, "before_a", 2), name="a")
    return [tf.nn.relu(conv(a, 1, 24, "before_b"), name="b")]


def depthwise_relu6(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu6(conv(raw.Mul(x=x, y=4.0, name="m"), 1, 8, "before_a"), name="a")
    made = tf.nn.depthwise_conv2d(a, weights(3, 3, 8, 2), [1, 2, 2, 1], "SAME")
    return [tf.nn.relu6(tf.nn.bias_add(made, weights(16)), name="b")]


def residual(x: tf.Tensor) -> list[tf.Tensor]:
    a = conv(x, 1, 4, "a")
    added = conv(tf.nn.relu(conv(a, 1, 8, "before_b"), name="b"), 3, 4, "c")
    total = raw.AddV2(x=a, y=added, name="d")
    other = tf.nn.relu(raw.AddV2(x=total, y=conv(total, 1, 4, "e", seed=6)), name="f")
    return [conv(total, 1, 6, "g"), other]


def pools(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu(conv(x, 3, 8, "before_a"), name="a")
    largest = tf.nn.max_pool2d(a, 3, 2, "SAME", name="m")
    mean = tf.nn.avg_pool2d(a, 2, 2, "SAME", name="v")
    return [conv(tf.concat([largest, mean], 3, name="k"), 1, 6, "b")]


def padded(x: tf.Tensor) -> list[tf.Tensor]:
    a = conv(x, 3, 8, "a")
    margins = [[0, 0], [1, 1], [0, 1], [0, 0]]
    zeros = raw.Pad(input=a, paddings=margins, name="p")
    ones = raw.PadV2(input=a, paddings=margins, constant_values=1.0, name="q")
    return [tf.nn.max_pool2d(zeros, 3, 2, "VALID", name="m"), conv(ones, 1, 6, "b")]


def head(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu(conv(x, 3, 8, "before_a"), name="a")
    return [dense(tf.reduce_mean(a, [1, 2], name="g"), 5, "y"), dense(tf.reshape(a, [-1, 512], name="f"), 6, "z")]


def matrices(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu(dense(x, 24, "before_a", transposed=True), name="a")
    return [dense(a, 7, "y"), tf.matmul(a, weights(24, 9), name="z")]


def feed_forward(x: tf.Tensor) -> list[tf.Tensor]:
    """What the exact recipe makes of a transformer's: rows, layer norm, GELU."""
    centred = x - tf.reduce_mean(x, 1, keepdims=True)
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), 1, keepdims=True) + 1e-5)
    n = tf.add(centred * inverse * weights(32), weights(32), name="n")
    h = dense(n, 96, "h")
    g = tf.multiply(h * 0.5, 1.0 + tf.math.erf(h * np.float32(np.sqrt(0.5))), name="g")
    return [raw.AddV2(x=n, y=dense(g, 32, "o"), name="y")]


def attention(x: tf.Tensor) -> list[tf.Tensor]:
    rows = [dense(x, 32, name, seed=seed) for seed, name in enumerate("qkv", 6)]
    heads = [tf.transpose(tf.reshape(row, [-1, 8, 4, 8]), [0, 2, 1, 3]) for row in rows]
    found = tf.matmul(tf.nn.softmax(tf.matmul(heads[0], heads[1], transpose_b=True)), heads[2])
    c = tf.reshape(tf.transpose(found, [0, 2, 1, 3]), [-1, 32], name="c")
    return [dense(c, 32, "y")]


def transposed_conv(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.conv2d_transpose(x, weights(3, 3, 6, 4), [3, 16, 16, 6], 2, "SAME", name="a")
    return [tf.nn.bias_add(tf.nn.conv2d(a, weights(3, 3, 3, 8), 1, "VALID", dilations=2), weights(8), name="y")]


@dataclass(frozen=True)
class Case:
    """A graph, the values that get a grid, those of them with a zero point within, and the ops that ONNX Runtime
    computes with integers; `left` are float ops that the decision leaves."""

    draw: Callable[..., list[tf.Tensor]]
    x: np.ndarray
    values: str
    integers: dict[str, int]
    offset: str = ""
    left: frozenset[str] = frozenset()
    batch: int | None = None


CASES = {
    "conv and relu": Case(conv_relu, IMAGE, "x a b", {"QLinearConv": 2}),
    "depthwise and relu6": Case(depthwise_relu6, IMAGE, "m a b", {"QLinearConv": 2}, left=frozenset({"Mul"})),
    "residual sums": Case(residual, IMAGE, "x a b c d e f g", {"QLinearConv": 5, "QLinearAdd": 2}, "d"),
    "pools": Case(pools, IMAGE, "x a m v k b", {"QLinearConv": 2, "QLinearAveragePool": 1, "QLinearConcat": 1}),
    "padded": Case(padded, IMAGE, "x a p q m b", {"QLinearConv": 2, "Pad": 2, "QuantizeLinear": 1}),
    "head": Case(head, IMAGE, "x a g f y z", {"QLinearConv": 1, "QLinearGlobalAveragePool": 1, "QGemm": 2}),
    "matrices": Case(matrices, ROWS, "x a y z", {"QGemm": 2, "QLinearMatMul": 1}),
    "feed forward": Case(feed_forward, ROWS, "x n g o y", {"QGemm": 2, "QLinearAdd": 1}),
    "attention": Case(attention, ROWS, "x c y", {"QGemm": 4}, left=frozenset({"MatMul", "FusedMatMul"})),
    "transposed": Case(transposed_conv, IMAGE, "x a y", {"QLinearConv": 1}, left=frozenset({"ConvTranspose"}), batch=3),
}


FLOAT = {"Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul", "FusedMatMul", "Add", "Mul", "Relu", "Clip", "Concat",
         "AveragePool", "GlobalAveragePool"}  # fmt: skip


def gridded(case: Case, bits: int = 8) -> Model:
    model = drawn(case.draw, {"x": case.x}, batch=case.batch)
    return calibrated(model, {"x": case.x}, case.values.split(), bits=bits, offset=case.offset.split())


def run(
    path: Path, x: np.ndarray, outputs: list[str], level: GraphOptimizationLevel, precise: bool = False
) -> list[np.ndarray]:
    """Beside the file it leaves what ONNX Runtime made of it, as `optimized.onnx`. `precise`: by the kernels that do
    not saturate on any processor."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", str(int(precise)))
    options.graph_optimization_level = level
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_name("optimized.onnx"))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(outputs, {"x": x})


def ops_of(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
