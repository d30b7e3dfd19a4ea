"""What each pass over linear layers gains by itself, on one block each: stock TensorFlow's time before and after.

    python -m benchmarks.linear_passes [--seconds 2]

Both graphs run in turns in one process with TensorFlow's own optimizer on. The last rows are rewrites that tfopt leaves
undone because they do not pay: one MatMul and a Split for three MatMuls whose results are not split into heads, and a
batch norm with nothing linear beside it as a product and a sum.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import print_table
from tfopt.formats.graph_def import from_graph_def, to_graph_def
from tfopt.formats.tensorflow import tf
from tfopt.ir.graph import Graph, Value
from tfopt.passes.registry import steps

Function = Callable[[Any], "list[Any]"]
RNG = np.random.default_rng(0)


def weight(*shape: int) -> NDArray[np.float32]:
    return np.asarray(RNG.standard_normal(shape) / np.sqrt(np.prod(shape[:-1])), np.float32)


class Case(NamedTuple):
    """`before` as a user writes it; `after` is what the passes make of it, or another function by hand."""

    title: str
    shape: tuple[int, ...]
    before: Function
    after: tuple[str, ...] | Function


def padded_depthwise(image: Any) -> list[Any]:
    image = tf.pad(image, [[0, 0], [0, 1], [0, 1], [0, 0]])
    return [tf.nn.relu6(tf.nn.depthwise_conv2d(image, FILTERS["depthwise"], [1, 2, 2, 1], "VALID") + BIAS[:192])]


def padded_conv(image: Any) -> list[Any]:
    image = tf.pad(image, [[0, 0], [3, 3], [3, 3], [0, 0]])
    return [tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(image, FILTERS["stem"], 2, "VALID"), BIAS[:64]))]


def channels_first(image: Any) -> list[Any]:
    made = tf.transpose(tf.nn.conv2d(image, FILTERS["3x3"], 1, "SAME"), [0, 3, 1, 2])
    return [tf.nn.relu(made * SCALE[:64, None, None] + BIAS[:64, None, None])]


def normalised_image(image: Any) -> list[Any]:
    return [tf.nn.relu(tf.nn.conv2d((image / 127.5 - 1.0 - BIAS[:3]) / SCALE[:3], FILTERS["stem"], 2, "SAME"))]


def chain(image: Any) -> list[Any]:
    return [tf.tanh(((tf.nn.relu(image) / 3.0 - BIAS[:64]) * SCALE[:64] + BIAS[:64]) * 0.5)]


def _heads(x: Any, matrix: str) -> Any:
    made = tf.matmul(tf.reshape(x, [-1, 384]), FILTERS[matrix]) + BIAS[:384]
    return tf.transpose(tf.reshape(made, [-1, 128, 12, 32]), [0, 2, 1, 3])


def attention(x: Any) -> list[Any]:
    scores = tf.matmul(_heads(x, "query"), _heads(x, "key"), transpose_b=True) / float(np.sqrt(32))
    return [tf.nn.softmax(scores)]


def pointwise_behind(image: Any) -> list[Any]:
    return [tf.nn.relu(tf.nn.conv2d(tf.nn.conv2d(image, FILTERS["3x3"], 1, "SAME"), FILTERS["1x1"], 1, "SAME"))]


def repvgg(image: Any) -> list[Any]:
    wide = tf.nn.bias_add(tf.nn.conv2d(image, FILTERS["3x3"], 1, "SAME"), BIAS[:64])
    narrow = tf.nn.bias_add(tf.nn.conv2d(image, FILTERS["1x1"], 1, "SAME"), BIAS[64:128])
    return [tf.nn.relu(wide + narrow + (image * SCALE[:64] + BIAS[:64]))]


def residual(image: Any) -> list[Any]:
    return [tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(image, FILTERS["3x3"], 1, "SAME"), BIAS[:64]) + image)]


def stage_end(image: Any) -> list[Any]:
    inner = tf.nn.relu(tf.nn.conv2d(image, FILTERS["3x3"], 1, "SAME"))
    made = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(inner, FILTERS["1x1"], 1, "SAME"), BIAS[:64]) + image)
    return [tf.nn.relu(tf.nn.conv2d(made, one, 2, "SAME")) for one in (FILTERS["1x1"], FILTERS["1x1"][..., :32])]


def sliced(image: Any) -> list[Any]:
    return [tf.tanh(image[:, ::2, ::2])]


def picked(image: Any) -> list[Any]:
    return [tf.tanh(tf.nn.avg_pool2d(image, 1, 2, "VALID"))]


def concatenated(image: Any) -> list[Any]:
    filters = (FILTERS["1x1"], FILTERS["1x1"][..., :32], FILTERS["1x1"][..., :16])
    return [tf.concat([tf.nn.relu(tf.nn.conv2d(image, one, 1, "SAME")) for one in filters], -1)]


def query_key_value(x: Any) -> list[Any]:
    return [_heads(x, matrix) for matrix in ("query", "key", "value")]


def apart(x: Any) -> list[Any]:
    rows = tf.reshape(x, [-1, 384])
    return [tf.nn.bias_add(tf.matmul(rows, FILTERS[name]), BIAS[:384]) for name in ("query", "key", "value")]


def together(x: Any) -> list[Any]:
    matrix = np.concatenate([FILTERS[name] for name in ("query", "key", "value")], 1)
    made = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, 384]), matrix), np.tile(BIAS[:384], 3))
    return list(tf.split(made, 3, -1))


def batch_norm_alone(image: Any) -> list[Any]:
    parameters = {"scale": SCALE[:64], "offset": BIAS[:64], "mean": BIAS[64:128], "variance": SCALE[64:128]}
    made, *_ = tf.compat.v1.nn.fused_batch_norm(tf.tanh(image), **parameters, is_training=False)
    return [tf.nn.relu(made)]


def product_and_sum(image: Any) -> list[Any]:
    scale = (SCALE[:64] / np.sqrt(SCALE[64:128] + 0.001)).astype(np.float32)
    return [tf.nn.relu(tf.tanh(image) * scale + (BIAS[:64] - BIAS[64:128] * scale).astype(np.float32))]


FILTERS = {
    "depthwise": weight(3, 3, 192, 1),
    "stem": weight(7, 7, 3, 64),
    "3x3": weight(3, 3, 64, 64),
    "1x1": weight(1, 1, 64, 64),
    **{name: weight(384, 384) for name in ("query", "key", "value")},
}
BIAS = weight(384)
SCALE = np.abs(weight(384)) + np.float32(0.5)

FOLDS = ("fold_constants", "flatten_matmul", "fold_pad", "fold_batch_norm", "fold_scale", "fold_batch_norm")
CASES = (
    Case("fold_pad: a depthwise convolution with a stride, SAME", (28, 28, 192), padded_depthwise, FOLDS),
    Case("fold_pad: a 7x7 convolution with a stride, EXPLICIT", (224, 224, 3), padded_conv, FOLDS),
    Case("fold_batch_norm: behind a transpose", (28, 28, 64), channels_first, FOLDS),
    Case("fold_batch_norm: an image normalised before a padded convolution", (224, 224, 3), normalised_image, FOLDS),
    Case("fold_scale: a chain with nothing linear beside it", (28, 28, 64), chain, FOLDS),
    Case("fold_scale: the scores of attention", (128, 384), attention, FOLDS),
    Case("hoist_strides: a block of which the next stage reads a quarter", (56, 56, 64), stage_end, ("hoist_strides",)),
    Case("hoist_strides: a quarter of the places as a slice, and picked", (56, 56, 64), sliced, picked),
    Case("merge_linear: a 1x1 behind a 3x3 convolution", (28, 28, 64), pointwise_behind, ("merge_linear",)),
    Case("merge_parallel: RepVGG's branches", (28, 28, 64), repvgg, ("merge_parallel",)),
    Case("merge_parallel: a residual sum", (28, 28, 64), residual, ("merge_parallel",)),
    Case("merge_parallel: concatenated 1x1 convolutions", (28, 28, 64), concatenated, ("merge_parallel",)),
    Case("merge_parallel: query, key and value in heads", (128, 384), query_key_value, ("merge_parallel",)),
    Case("not done: one MatMul and a Split for three, 128 rows", (128, 384), apart, together),
    Case("not done: a batch norm alone as a product and a sum", (28, 28, 64), batch_norm_alone, product_and_sum),
)


def main(seconds: float = 2.0) -> None:
    rows = []
    for case in CASES:
        for threads in (1, 2):
            for batch in (1, 8):
                rows.append([case.title, str(threads), str(batch), *_measured(case, threads, batch, seconds)])
    headings = ["block", "threads", "batch", "before ms", "after ms", "speedup"]
    print_table("What each pass over linear layers gains by itself", headings, rows)


def _measured(case: Case, threads: int, batch: int, seconds: float) -> list[str]:
    before = _graph(case.before, case.shape)
    after = _graph(case.after, case.shape) if callable(case.after) else _passed(before, case.after)
    array = np.random.default_rng(1).standard_normal((batch, *case.shape)).astype(np.float32)
    calls = [_call(graph, threads, array) for graph in (before, after)]
    for left, right in zip(calls[0](), calls[1](), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-5 * float(np.max(np.abs(left))))
    taken: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for call, times in zip(calls, taken, strict=True):
            times.append(_turn(call))
    ratio = median(first / second for first, second in zip(*taken, strict=True))
    return [f"{median(taken[0]) * 1000:.2f}", f"{median(taken[1]) * 1000:.2f}", f"{ratio:.2f}x"]


def _turn(call: Callable[[], Any]) -> float:
    """Seconds of one call of four, behind one that warms the caches again."""
    call()
    start = time.perf_counter()
    for _ in range(4):
        call()
    return (time.perf_counter() - start) / 4


def _graph(function: Function, shape: tuple[int, ...]) -> Graph:
    with tf.Graph().as_default() as built:
        given = tf.compat.v1.placeholder(tf.float32, [None, *shape], name="x")
        made = [tf.identity(out, f"out{at}") for at, out in enumerate(function(given))]
    outputs = tuple(Value(out.op.name) for out in made)
    return from_graph_def(built.as_graph_def(), inputs=("x",), outputs=outputs)


def _passed(graph: Graph, names: tuple[str, ...]) -> Graph:
    for name in names:
        changed = steps()[name].run(graph).graph
        graph = changed
    return graph


def _call(graph: Graph, threads: int, array: NDArray[np.float32]) -> Callable[[], Any]:
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, use_per_session_threads=True
    )
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(to_graph_def(graph), name="")
    session = tf.compat.v1.Session(graph=imported, config=config)
    run = session.make_callable([f"{value.node}:{value.port}" for value in graph.outputs], ["x:0"])
    return lambda: run(array)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row (2)")
    main(seconds=parser.parse_args().seconds)
