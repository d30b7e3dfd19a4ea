"""Loops and branches as TensorFlow 1 wrote them: edges of the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.formats.saved_v1 import X, assert_carried, assert_carried_each, saved
from tfopt.ir.rewrite import reachable

v1 = tf.compat.v1


@pytest.fixture
def control_flow_v1() -> Iterator[None]:
    """Loops and branches as edges of the graph, which is TensorFlow 1's way."""
    v1.disable_control_flow_v2()
    yield
    v1.enable_control_flow_v2()


@pytest.mark.parametrize("use_resource", [False, True])
def test_loops_and_branches_of_the_old_kind(tmp_path: Path, control_flow_v1: None, use_resource: bool) -> None:
    """Constants that look alike within and without, a variable that loop and branch take in, a loop in a loop."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        w = v1.get_variable("w", [3], use_resource=use_resource)

        def inner(y: tf.Tensor) -> tf.Tensor:
            more = tf.constant(0.5) * tf.constant(2.0)
            return tf.while_loop(lambda z: tf.reduce_sum(tf.abs(z)) < 4.0, lambda z: [z * 1.5 + more], [y])[0]

        def step(count: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return count + 1, inner(tf.tanh(y * w + tf.constant(0.5) * tf.constant(2.0)))

        looped = tf.while_loop(lambda count, _: count < 3, step, [tf.constant(0), x])[1]
        some = tf.constant(0.5) * tf.constant(2.0)
        branched = tf.cond(
            tf.reduce_sum(x) > 0.0,
            lambda: looped * w + tf.constant(0.5) * tf.constant(2.0),
            lambda: tf.cond(x[0, 0] > -2.0, lambda: looped - w, lambda: looped * some),
        )
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"looped": looped, "branched": branched + some}))
    model = assert_carried(path, {"x": X}, {"x": -X}, {"x": -3 * np.abs(X)})
    assert {"Enter", "Exit", "NextIteration", "LoopCond", "Switch", "Merge"} <= set(model.graph.by_op)


def test_branches_that_are_never_taken(tmp_path: Path, control_flow_v1: None) -> None:
    """A batch norm and a dropout as TensorFlow 1 had them, a loop in a branch, and a condition that can be fed."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        training = v1.placeholder_with_default(False, [], "training")
        batch_mean = tf.reduce_mean(x, 0)
        stored = v1.get_variable("mean", [3], use_resource=False)
        mean = tf.cond(training, lambda: batch_mean * 1.0, lambda: tf.identity(stored))
        y = tf.cond(
            tf.logical_not(training),
            lambda: tf.cond(tf.reduce_sum(x) > 0.0, lambda: x - mean, lambda: x + mean),
            lambda: tf.while_loop(lambda z: tf.reduce_sum(z) < 9.0, lambda z: [z + 1.0], [x])[0],
        )
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"y": tf.exp(y)}),
            ("any_mode", {"x": x, "training": training}, {"y": tf.exp(y)}),
        )
    model = assert_carried_each(path, {"serving_default": {"x": X}, "any_mode": {"x": X, "training": np.array(True)}})
    assert_carried_each(path, {"serving_default": {"x": -X}, "any_mode": {"x": X, "training": np.array(False)}})
    served = reachable(model.graph, [model.graph.outputs[0].node])
    left = sorted(model.graph[name].op for name in served if model.graph[name].op in ("Merge", "Enter", "Switch"))
    assert left.count("Merge") == 1 and "Enter" not in left
