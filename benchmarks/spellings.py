"""How fast TensorFlow runs what the exact recipe rewrites, in one spelling and in another, and what it fuses.

    python -m benchmarks.spellings

Each pair computes the same, ROWS rows of WIDTH, several layers in a chain; they are run in turns on one thread. The
ops are those of the graph that TensorFlow's own optimizer leaves.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.report import print_table

ROWS: Final = (64, 1024)
WIDTH: Final = 384
LAYERS: Final = 8
RUNS: Final = 40

Layer = Callable[[Any], Any]
v1 = tf.compat.v1


def _weights(*shape: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).standard_normal(shape) / np.sqrt(shape[0])
    return drawn.astype(np.float32)


GAMMA, BETA = _weights(WIDTH) + 1, _weights(WIDTH)
KERNEL, BIAS = _weights(WIDTH, WIDTH), _weights(WIDTH) + 0.1


def _moments(x: Any, axis: int) -> tuple[Any, Any]:
    mean = tf.reduce_mean(x, axis, keepdims=True)
    return mean, tf.reduce_mean(tf.math.squared_difference(x, mean), axis, keepdims=True)


def batch_normalization(x: Any, axis: int = -1, epsilon: float = 1e-5) -> Any:
    mean, variance = _moments(x, axis)
    factor = tf.math.rsqrt(variance + epsilon) * GAMMA
    return x * factor + (BETA - mean * factor)


def epsilon_of_keras(x: Any) -> Any:
    return batch_normalization(x, epsilon=1e-3)


def axis_from_the_front(x: Any) -> Any:
    return batch_normalization(x, 1, 1e-3)


def around_the_mean(x: Any) -> Any:
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    return centred * tf.math.rsqrt(variance + 1e-5) * GAMMA + BETA


def _dense(x: Any) -> Any:
    return tf.nn.bias_add(tf.matmul(x, KERNEL), BIAS)


def gelu_erfc_half_inside(x: Any) -> Any:
    y = _dense(x)
    return y * (0.5 * tf.math.erfc(y * -np.sqrt(0.5).astype(np.float32)))


def gelu_erf(x: Any) -> Any:
    y = _dense(x)
    return (0.5 * y) * (1.0 + tf.math.erf(y * np.sqrt(0.5).astype(np.float32)))


def reshape_between(x: Any) -> Any:
    y = tf.nn.bias_add(tf.reshape(tf.matmul(x, KERNEL), [-1, 8, WIDTH]), BIAS)
    return tf.reshape((0.5 * y) * (1.0 + tf.math.erf(y * np.sqrt(0.5).astype(np.float32))), [-1, WIDTH])


def transposed_weight(x: Any) -> Any:
    return tf.nn.bias_add(tf.matmul(x, KERNEL.T.copy(), transpose_b=True), BIAS)


class Pair(NamedTuple):
    name: str
    before: Layer
    after: Layer


PAIRS: Final = (
    Pair("layer norm: x factor + (beta - mean factor)", batch_normalization, around_the_mean),
    Pair("layer norm, epsilon 0.001: the axis from the front", epsilon_of_keras, axis_from_the_front),
    Pair("GELU: x (0.5 erfc)", gelu_erfc_half_inside, gelu_erf),
    Pair("GELU: a Reshape behind the MatMul", reshape_between, gelu_erf),
    Pair("MatMul: the weight transposed", transposed_weight, _dense),
)


class Chain:
    """LAYERS of one layer in a session of its own on one thread."""

    def __init__(self, layer: Layer, rows: int) -> None:
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [None, WIDTH])
            made = x
            for _ in range(LAYERS):
                made = layer(made)
            config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
            self._session = v1.Session(graph=graph, config=config)
            self._fetch = tf.identity(made)
            self._feed = {x: np.random.default_rng(1).standard_normal((rows, WIDTH)).astype(np.float32)}
        metadata = v1.RunMetadata()
        options = v1.RunOptions(output_partition_graphs=True)
        self._session.run(self._fetch, self._feed, options=options, run_metadata=metadata)
        self.ops = Counter(_kind(node) for part in metadata.partition_graphs for node in part.node)

    def seconds(self) -> float:
        start = time.perf_counter()
        self._session.run(self._fetch, self._feed)
        return (time.perf_counter() - start) / LAYERS


def _kind(node: Any) -> str:
    fused = [op.decode() for op in node.attr["fused_ops"].list.s] if "fused_ops" in node.attr else []
    return "+".join([node.op, *fused])


def _ops(chain: Chain) -> str:
    plumbing = {"_Arg", "_Retval", "Const", "Identity"}
    return ", ".join(op for op, _ in chain.ops.most_common() if op not in plumbing)


def main() -> None:
    rows = []
    for pair in PAIRS:
        for count in ROWS:
            chains = [Chain(layer, count) for layer in (pair.before, pair.after)]
            times = np.array([[chain.seconds() for chain in chains] for _ in range(RUNS)][5:])
            before, after = (f"{median * 1e6:.0f}" for median in np.median(times, 0))
            ratio = float(np.median(times[:, 0] / times[:, 1]))
            rows.append([pair.name, str(count), before, after, f"{ratio:.2f}x", _ops(chains[0]), _ops(chains[1])])
    headings = ["before", "rows", "before µs", "after µs", "speedup", "TensorFlow's ops before", "and after"]
    print_table("Spellings of one computation", headings, rows)


if __name__ == "__main__":
    main()
