"""Layers with weights: products, convolutions, batch norms, branches and layers in a row."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests.programs.program import Pair, Program


def dense(p: Program) -> None:
    x = p.pick()
    width = x.later.shape[-1] if len(x.shape) else None
    if not width or x.now.dtype != tf.float32:
        return
    w, b = p.weights(width, 2), p.weights(2)
    kind = p.number(0, 4)
    rank = len(x.shape)
    letters = "abcdef"[:rank]
    if kind == 0 and rank == 2:
        p.add(lambda t: tf.matmul(tf.transpose(t), tf.constant(w), transpose_a=True), x)
    elif kind == 1:
        p.add(lambda t: tf.einsum(f"{letters},{letters[-1]}z->{letters[:-1]}z", t, tf.constant(w)), x)
    elif kind == 2:
        heads = w.reshape(width, 2, 1)
        p.add(lambda t: tf.einsum("...y,yhd->...hd", t, tf.constant(heads)), x)
    elif kind == 3:
        p.add(lambda t: tf.einsum(f"z{letters[-1]},{letters}->{letters[:-1]}z", tf.constant(w.T), t), x)
    else:
        p.add(lambda t: tf.tensordot(t, tf.constant(w), 1), x)
    if p.values[-1].shape[-1:] == (2,) and len(p.values[-1].shape) >= 2 and p.chance():
        p.add(lambda t: tf.nn.relu(tf.nn.bias_add(t, tf.constant(b))), p.values[-1])


def product(p: Program) -> None:
    x = p.pick()
    if len(x.shape) < 2 or x.now.dtype != tf.float32:
        return
    letters = "abcdef"[: len(x.shape)]
    batch, row, column = letters[:-2], letters[-2], letters[-1]
    kind = p.number(0, 3)
    if kind == 0:
        p.add(lambda t: tf.matmul(t, t, transpose_b=True), x)
    elif kind == 1:
        p.add(lambda t: tf.matmul(tf.linalg.matrix_transpose(t), t), x)
    elif kind == 2:
        p.add(lambda t: tf.einsum(f"{letters},{batch}z{column}->{batch}{row}z", t, t), x)
    else:
        p.add(lambda t: tf.einsum(f"{letters}->{letters[::-1]}", t), x)


def image(p: Program) -> Pair | None:
    """A value with four axes, the last one known: one that there is, or one with axes added."""
    x = p.pick()
    if x.now.dtype != tf.float32 or not 1 <= len(x.shape) <= 4 or not x.later.shape[-1] or 0 in x.shape:
        return None
    while len(x.shape) < 4:
        p.add(lambda t: tf.expand_dims(t, 1), x)
        if p.values[-1] is x:
            return None
        x = p.values[-1]
    return x


def convolution(p: Program) -> None:
    x = image(p)
    if x is None:
        return
    depth = x.later.shape[-1]
    size, padding = (1, "VALID") if p.chance() else (3, "SAME")
    if p.chance() and p.chance():
        pads = [[0, 0], [p.number(0, 2), p.number(0, 2)], [p.number(0, 2), 1], [0, 0]]
        kernel = p.weights(1, 2, depth, 2)
        p.add(lambda t: tf.nn.conv2d(tf.pad(t, pads), tf.constant(kernel), 1, "VALID"), x)
    elif p.chance():
        kernel = p.weights(size, size, depth, 2)
        p.add(lambda t: tf.nn.conv2d(t, tf.constant(kernel), 1, padding), x)
    else:
        kernel = p.weights(size, size, depth, 1)
        p.add(lambda t: tf.nn.depthwise_conv2d(t, tf.constant(kernel), [1, 1, 1, 1], padding), x)
    if p.chance():
        normalise(p)


def parallel(p: Program) -> None:
    """Branches of convolutions that are summed or put side by side."""
    x = image(p)
    if x is None:
        return
    depth = x.later.shape[-1]
    left, right = p.weights(1, 1, depth, 2), p.weights(3, 3, depth, 2)
    joined = p.draw(st.sampled_from([tf.add, lambda *parts: tf.concat(parts, -1)]))
    p.add(lambda t: joined(tf.nn.conv2d(t, left, 1, "SAME"), tf.nn.conv2d(t, right, 1, "SAME")), x)


def stacked(p: Program) -> None:
    """Linear layers with nothing between."""
    x = image(p)
    if x is None:
        return
    depth = x.later.shape[-1]
    first, second = p.weights(1, 1, depth, 3), p.weights(3, 3, 3, 2)
    padding = p.draw(st.sampled_from(["SAME", "VALID"]))
    if padding == "SAME" or min(x.shape[1:3]) >= 3:
        p.add(lambda t: tf.nn.conv2d(tf.nn.conv2d(t, first, 1, "VALID"), second, 1, padding), x)


def normalise(p: Program) -> None:
    x = p.values[-1]
    if len(x.shape) != 4 or x.now.dtype != tf.float32 or not x.later.shape[-1] or 0 in x.shape:
        return
    gamma, beta, mean = (p.weights(x.shape[-1]) for _ in range(3))
    variance = 0.5 + np.abs(p.weights(x.shape[-1]))

    def fused(t: tf.Tensor) -> tf.Tensor:
        statistics = {"mean": mean, "variance": variance, "epsilon": 1e-3, "is_training": False}
        return tf.compat.v1.nn.fused_batch_norm(t, tf.constant(gamma), tf.constant(beta), **statistics)[0]

    def decomposed(t: tf.Tensor) -> tf.Tensor:
        return tf.nn.batch_normalization(t, mean, variance, tf.constant(beta), tf.constant(gamma), 1e-3)

    p.add(fused if p.chance() else decomposed, x)
