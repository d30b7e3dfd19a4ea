"""Graphs on grids, each of which becomes a signature of one .tflite file."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tests.targets.gridded import drawn, gridded
from tfopt.ir import Model
from tfopt.ir.grid import Grid, symmetric

RNG = np.random.default_rng(3)
IMAGES, ROWS, TEXTS = (RNG.standard_normal(shape).astype(np.float32) for shape in ((16, 8, 8, 4), (16, 8), (4, 6, 8)))


def w(*shape: int, name: str = "weight") -> Any:
    return tf.constant(RNG.standard_normal(shape).astype(np.float32) * np.float32(0.3), name=name)


def biased(product: Any, name: str | None = None) -> Any:
    return tf.nn.bias_add(product, w(product.shape[-1], name="bias"), name=name)


def network(x: Any) -> Any:
    """Convolution, depthwise with Relu6, residual sum, both poolings, two dense layers."""
    stem = tf.nn.relu(biased(tf.nn.conv2d(x, w(3, 3, 4, 8), 1, "SAME")), name="stem")
    depthwise = tf.nn.depthwise_conv2d(stem, w(3, 3, 8, 2), [1, 2, 2, 1], "SAME")
    deep = tf.nn.relu6(biased(depthwise), name="deep")
    narrow = biased(tf.nn.conv2d(deep, w(1, 1, 16, 8), 1, "VALID"), name="narrow")
    wide = biased(tf.nn.conv2d(narrow, w(1, 1, 8, 8), 1, "VALID"), name="wide")
    total = tf.add(narrow, wide, name="sum")
    pooled = tf.nn.max_pool2d(total, 2, 2, "VALID", name="pool")
    mean = tf.reduce_mean(pooled, [1, 2], name="mean")
    hidden = tf.nn.relu(biased(tf.matmul(mean, w(8, 16))), name="hidden")
    logits = biased(tf.matmul(hidden, w(16, 5)), name="logits")
    return stem, deep, narrow, wide, total, pooled, mean, hidden, logits


def rows(x: Any) -> Any:
    """Dense layers over rows of several examples, with a residual sum."""
    first = biased(tf.raw_ops.BatchMatMulV2(x=x, y=w(8, 12)), name="first")
    second = biased(tf.raw_ops.BatchMatMulV2(x=first, y=w(12, 12)), name="second")
    return first, second, tf.add(first, second, name="y")


def weak(x: Any) -> Any:
    """Channels whose weights are zero, or so small that the bias would not fit 32 bits at their scale."""
    kernel = RNG.standard_normal((8, 8)).astype(np.float32) * np.array([0, 1e-12, 1e-17, 1e-5, 1, 1, 1, 1], np.float32)
    return tf.nn.relu(biased(tf.matmul(x, tf.constant(kernel, name="weak"))), name="y")


def weak_image(x: Any) -> Any:
    kernel = RNG.standard_normal((3, 3, 4, 5)).astype(np.float32) * np.array([0, 1e-12, 1e-17, 1e-5, 1], np.float32)
    return biased(tf.nn.conv2d(x, tf.constant(kernel, name="weak"), 1, "SAME"), name="y")


def one_scale(x: Any) -> Any:
    stem = tf.nn.relu(biased(tf.nn.conv2d(x, w(3, 3, 4, 8, name="a"), 1, "SAME")), name="stem")
    deep = tf.nn.relu(biased(tf.nn.depthwise_conv2d(stem, w(3, 3, 8, 1, name="b"), [1, 1, 1, 1], "SAME")), name="deep")
    return biased(tf.matmul(tf.reduce_mean(deep, [1, 2], name="mean"), w(8, 4, name="c")), name="y")


def left_float(x: Any) -> Any:
    stem = tf.nn.relu(biased(tf.nn.conv2d(x, w(3, 3, 4, 8), 1, "SAME")), name="stem")
    return tf.nn.relu(biased(tf.nn.conv2d(stem, w(3, 3, 8, 8, name="left"), 1, "SAME")), name="y")


def transposed(x: Any) -> Any:
    return biased(tf.nn.conv2d_transpose(x, w(3, 3, 8, 4), [16, 16, 16, 8], 2), name="y")


def softmax(x: Any) -> Any:
    return tf.nn.softmax(biased(tf.matmul(x, w(8, 4)), name="logits"), name="y")


def joined(x: Any) -> Any:
    """What has no grid beside what has one: the converter would cut the first off at the ends of the second."""
    half = tf.nn.relu(biased(tf.matmul(x, w(8, 4))), name="half")
    whole = tf.concat([half, tf.tanh(half, name="tanh"), tf.nn.relu(x - 1, name="beyond")], 1, name="whole")
    return tf.matmul(tf.nn.softmax(whole * 5, name="shares"), w(16, 4, name="last"), name="y"), tf.identity(whole)


#: The grids of one scale for a, b and c.
PLAIN = {name: symmetric(1.0) for name in "abc"}


FLOATS = ("tanh", "sub", "beyond", "whole", "mul", "shares", "last", "Identity")


OFFSETS = ("x", "narrow", "sum", "pool", "mean", "logits")


CASES: dict[str, tuple[Model, np.ndarray]] = {
    "symmetric": (gridded(drawn(network, IMAGES), IMAGES), IMAGES),
    "offsets": (gridded(drawn(network, IMAGES), IMAGES, offsets=OFFSETS), IMAGES),
    "seven_bits": (gridded(drawn(network, IMAGES), IMAGES, bits=7), IMAGES),
    "rows": (gridded(drawn(rows, TEXTS), TEXTS), TEXTS),
    "rows_of_seven_bits": (gridded(drawn(rows, TEXTS), TEXTS, bits=7), TEXTS),
    "weak": (gridded(drawn(weak, ROWS), ROWS), ROWS),
    "weak_image": (gridded(drawn(weak_image, IMAGES), IMAGES), IMAGES),
    "one_scale": (gridded(drawn(one_scale, IMAGES), IMAGES, chosen=PLAIN), IMAGES),
    "left_float": (gridded(drawn(left_float, IMAGES), IMAGES, floats=["left"]), IMAGES),
    "transposed": (gridded(drawn(transposed, IMAGES), IMAGES), IMAGES),
    "joined": (gridded(drawn(joined, ROWS), ROWS, floats=FLOATS), ROWS),
    "softmax": (gridded(drawn(softmax, ROWS), ROWS, chosen={"y": Grid((1 / 256,), signed=False)}), ROWS),
}


#: What the network returns all values of: each can be held against its layer's inputs.
WHOLE = ("symmetric", "offsets", "seven_bits", "rows", "rows_of_seven_bits")
