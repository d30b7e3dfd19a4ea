"""Ops that compute with elements: activations, sums, casts, reductions."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests.programs.program import Program


def unary(p: Program) -> None:
    names = "relu relu6 tanh sigmoid abs neg square softplus identity stop_gradient"
    function = {
        "relu": tf.nn.relu, "relu6": tf.nn.relu6, "tanh": tf.tanh, "sigmoid": tf.sigmoid, "abs": tf.abs,
        "neg": tf.negative, "square": tf.square, "softplus": tf.nn.softplus, "identity": tf.identity,
        "stop_gradient": tf.stop_gradient,
    }[p.draw(st.sampled_from(names.split()))]  # fmt: skip
    p.add(function, p.pick())


def with_constant(p: Program) -> None:
    x = p.pick()
    numbers = p.draw(st.sampled_from([0.0, -0.0, 1.0, 0.5, -2.0]))
    shape = x.shape[p.number(0, len(x.shape)) :]
    shape = tuple(1 if p.number(0, 3) == 0 else dim for dim in shape)
    array = np.full(shape, numbers) if p.chance() else p.weights(*shape)
    constant = p.like(x, array)
    op = p.draw(st.sampled_from([tf.add, tf.multiply, tf.subtract, tf.maximum, tf.raw_ops.Add]))
    flip = p.chance() and op is not tf.raw_ops.Add
    if op is tf.raw_ops.Add:
        p.add(lambda t: op(x=t, y=tf.constant(constant)), x)
    else:
        p.add(lambda t: op(tf.constant(constant), t) if flip else op(t, tf.constant(constant)), x)


def binary(p: Program) -> None:
    x = p.pick()
    fits = [y for y in p.values if y.now.dtype == x.now.dtype and _broadcasts(x.shape, y.shape)]
    y = p.draw(st.sampled_from(fits))
    op = p.draw(st.sampled_from([tf.add, tf.multiply, tf.subtract, tf.maximum, tf.minimum]))
    p.add(op, x, y)


def _broadcasts(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(left, right)
    except ValueError:
        return False
    return True


def reduce(p: Program) -> None:
    x = p.pick()
    if 0 in x.shape:
        return
    axes = [at for at in range(len(x.shape)) if p.chance()]
    keep = p.chance()
    op = p.draw(st.sampled_from([tf.reduce_mean, tf.reduce_sum, tf.reduce_max]))
    p.add(lambda t: op(t, axes, keepdims=keep), x)


def softmax(p: Program) -> None:
    x = p.pick()
    if x.shape and x.shape[-1]:
        p.add(tf.nn.softmax, x)


def cast(p: Program) -> None:
    x = p.pick()
    through = p.draw(st.sampled_from([tf.float64, tf.float32, tf.float16]))
    back = x.now.dtype
    # A value that went through float16 has few digits, which rounding before it would show in.
    if through is tf.float16 and back is not tf.float16:
        return
    p.add(lambda t: tf.cast(tf.cast(t, through), back), x)


def integers(p: Program) -> None:
    """Integers and truths between floating-point numbers."""
    x = p.pick()
    p.add(lambda t: tf.cast(tf.shape(t), tf.float32) * 0.25, x)
    p.add(lambda t: tf.where(tf.zeros_like(t, tf.bool), t, t), x)
    p.add(lambda t: tf.cast(tf.cast(tf.ones_like(t, tf.int32) + 0, tf.int64), t.dtype) * t, x)


def activation(p: Program) -> None:
    """Activations and norms as libraries write them, of several ops."""
    x = p.pick()
    dtype = x.now.dtype
    half = np.asarray(0.5, dtype.as_numpy_dtype)
    kind = p.number(0, 3)
    if kind == 0:
        p.add(lambda t: half * t * (tf.math.erf(t * np.asarray(0.7071067811865476, dtype.as_numpy_dtype)) + 1), x)
    elif kind == 1:
        p.add(lambda t: t * tf.nn.relu6(t + 3) * np.asarray(1 / 6, dtype.as_numpy_dtype), x)
    elif x.shape and x.shape[-1] and 0 not in x.shape and dtype != tf.float16:
        gamma, beta = p.like(x, p.weights(x.shape[-1])), p.like(x, p.weights(x.shape[-1]))

        def layer_norm(t: tf.Tensor) -> tf.Tensor:
            mean = tf.reduce_mean(t, -1, keepdims=True)
            variance = tf.reduce_mean(tf.math.squared_difference(t, mean), -1, keepdims=True)
            return (t - mean) * tf.math.rsqrt(variance + 0.1) * gamma + beta

        def by_hand(t: tf.Tensor) -> tf.Tensor:
            raised = tf.exp(t - tf.reduce_max(t, -1, keepdims=True))
            return raised / tf.reduce_sum(raised, -1, keepdims=True)

        p.add(layer_norm if kind == 2 else by_hand, x)
