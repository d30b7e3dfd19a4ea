"""Large products of matrices under TensorFlow: the fastest that its kernels compute here."""

from __future__ import annotations

from collections.abc import Callable

from tfopt.formats.tensorflow import tf  # isort: split

import numpy as np

from tfopt.runtimes.tensorflow import session_config


def matrix_products(side: int, threads: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Functions that compute one product of square matrices, in float32 and in int8 with int32 sums, each."""
    graph = tf.Graph()
    with graph.as_default():
        left = tf.constant(np.ones((side, side), np.float32))
        # What could be fed is not computed ahead when the graph is optimised.
        start = tf.compat.v1.placeholder_with_default(left, (side, side))
        product = tf.matmul(start, left)
        low, high = tf.constant(-1.0), tf.constant(1.0)
        codes = tf.compat.v1.placeholder_with_default(np.ones((side, side), np.uint8), (side, side))
        weight = tf.bitcast(tf.constant(np.ones((side, side), np.int8)), tf.qint8)
        integers = tf.raw_ops.QuantizedMatMulWithBias(
            a=tf.bitcast(codes, tf.quint8), b=weight, bias=tf.zeros(side), min_a=0.0, max_a=1.0, min_b=low, max_b=high,
            Toutput=tf.qint32,
        ).out  # fmt: skip
        session = tf.compat.v1.Session(graph=graph, config=session_config(threads))
        floats = session.make_callable(product.op)
        return floats, session.make_callable(integers.op)
