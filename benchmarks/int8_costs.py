"""Fit and check what decides which layers int8 is worth its price for: `tfopt/targets/native_lowering/costs.py`.

    python -m benchmarks.int8_costs [--seconds 0.5]

Chains of convolutions, depthwise and dense layers of many sizes, each in float (as TensorFlow fuses it) and on integers
with the way to levels and back, in turns in one session, one example a call, on one thread. Two of three are fitted,
the third is judged: is what the figures say to be faster faster? Within 5 % either answer counts as right.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import print_table
from tfopt.data.samples import Samples
from tfopt.formats.graph_def import from_graph_def, to_graph_def
from tfopt.formats.tensorflow import tf
from tfopt.ir.graph import Graph, Model, Signature, SignatureInput, SignatureOutput, Value
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.needs.statistics import Statistics
from tfopt.pipeline import run_pipeline
from tfopt.recipe import parse_recipe
from tfopt.targets.native_lowering.costs import MICROSECONDS, chains
from tfopt.targets.native_lowering.lowering import with_native_int8
from tfopt.targets.native_lowering.plan import plan

THREADS: Final = 1
#: Nearer than this nobody minds.
INDIFFERENT: Final = 0.05
_KEY: Final = "serving_default"
_RECIPE: Final = parse_recipe("name: int8\nsteps: [{quantize: {round_results: true}}]", "benchmark")


class Block(NamedTuple):
    """`kind` of layers, `count` of them in a row, over data of `size` places a side (or rows) and `width` channels."""

    kind: str
    size: int
    width: int
    count: int

    def __str__(self) -> str:
        places = f"{self.size} rows" if self.kind == "dense" else f"{self.size} x {self.size}"
        return f"{self.count} x {self.kind}, {places} x {self.width}"


BLOCKS: Final = (
    *(Block("3x3", size, width, count) for size in (4, 7, 14, 28) for width in (4, 16, 64) for count in (1, 3)),
    *(Block("1x1", size, width, count) for size in (4, 7, 14, 28) for width in (4, 32, 128) for count in (1, 4)),
    *(Block("bottleneck", size, width, count) for size in (4, 7, 14, 28) for width in (4, 16, 32) for count in (1, 2)),
    *(Block("dense", 1, width, count) for width in (8, 32, 128, 512, 1024) for count in (1, 2, 4)),
    *(Block("dense", rows, width, count) for rows in (16, 64) for width in (8, 32, 128, 384) for count in (1, 2)),
)


class Timed(NamedTuple):
    block: Block
    work: Mapping[str, float]
    float_us: float
    int8_us: float

    @property
    def gain(self) -> float:
        return self.float_us - self.int8_us


def main(seconds: float = 0.5) -> None:
    timed = [_timed(block, seconds) for block in BLOCKS]
    judged = timed[::3]
    fitted = fit([one for one in timed if one not in judged])
    print_table(
        "What int8 gains, in microseconds",
        ["one of these", "in the code", "fitted now"],
        [[kind, f"{MICROSECONDS[kind]:.2f}", f"{fitted[kind]:.2f}"] for kind in MICROSECONDS],
    )
    rows = [_judged(one) for one in judged]
    right = sum(row[-1] == "yes" for row in rows)
    notes = [f"{right} of {len(rows)} blocks that nothing was fitted to are decided right"]
    headings = ["block", "float us", "int8 us", "gain us", "said to gain", "right"]
    print_table("Is int8 chosen where it is faster?", headings, rows, notes=notes)


def _judged(one: Timed) -> list[str]:
    said = sum(MICROSECONDS[kind] * amount for kind, amount in one.work.items())
    right = (said > 0) == (one.gain > 0) or abs(one.gain) < INDIFFERENT * one.float_us
    times = [f"{value:.0f}" for value in (one.float_us, one.int8_us, one.gain, said)]
    return [str(one.block), *times, "yes" if right else "no"]


def fit(timed: list[Timed]) -> Mapping[str, float]:
    """Least squares of relative gains; what has a sign that it cannot have is left out."""
    kinds = list(MICROSECONDS)
    while True:
        rows = np.array([[one.work[kind] / one.float_us for kind in kinds] for one in timed])
        found, *_ = np.linalg.lstsq(rows, np.array([one.gain / one.float_us for one in timed]), rcond=None)
        wrong = [kind for kind, value in zip(kinds, found, strict=True) if value * _sign(kind) < 0]
        if not wrong:
            return {**dict.fromkeys(MICROSECONDS, 0.0), **dict(zip(kinds, map(float, found), strict=True))}
        worst = min(wrong, key=lambda kind: found[kinds.index(kind)] * _sign(kind))
        kinds.remove(worst)


def _sign(kind: str) -> int:
    """1 for what can only gain, -1 for what can only cost, 0 for what may do either."""
    return {"layers": 0, "quantized": -1, "quantized numbers": -1}.get(kind, 1)


def _timed(block: Block, seconds: float) -> Timed:
    model, images = _model(block)
    supply: dict[type, Any] = {Statistics: SampleStatistics({_KEY: Samples(images, "synthetic", "noise")})}
    quantized = run_pipeline(model, _RECIPE, supply=supply).model
    lowered = with_native_int8(quantized)
    assert not lowered.left, lowered.left
    (chain,) = chains(quantized.graph, plan(quantized.graph))
    one = next(iter(images.values()))[:1]
    calls = _calls((model.graph, lowered.model.graph), one)
    taken: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for call, times in zip(calls, taken, strict=True):
            times.append(_turn(call))
    float_us, int8_us = (median(sorted(times)[: max(1, len(times) // 2)]) * 1e6 for times in taken)
    return Timed(block, chain.work, float_us, int8_us)


def _calls(graphs: tuple[Graph, ...], array: NDArray[np.float32]) -> list[Callable[[], Any]]:
    """Both in one session: waking its threads takes as long as such a layer, and one session may be luckier."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=THREADS, inter_op_parallelism_threads=THREADS, use_per_session_threads=True
    )
    with tf.Graph().as_default() as imported:
        for at, graph in enumerate(graphs):
            tf.graph_util.import_graph_def(to_graph_def(graph), name=f"g{at}")
    session = tf.compat.v1.Session(graph=imported, config=config)
    made = []
    for at, graph in enumerate(graphs):
        (output,) = graph.outputs
        made.append(session.make_callable(f"g{at}/{output.node}:{output.port}", [f"g{at}/x:0"]))
    return [partial(call, array) for call in made]


def _turn(call: Callable[[], Any]) -> float:
    """Seconds of a call, behind one that warms the caches again."""
    call()
    start = time.perf_counter()
    for _ in range(4):
        call()
    return (time.perf_counter() - start) / 4


def _model(block: Block) -> tuple[Model, dict[str, NDArray[Any]]]:
    shape = (block.size, block.width) if block.kind == "dense" else (block.size, block.size, block.width)
    with tf.Graph().as_default() as built:
        x = tf.compat.v1.placeholder(tf.float32, [None, *shape], name="x")
        tf.identity(_layers(block, x), "y")
    graph = _without_identity(from_graph_def(built.as_graph_def(), inputs=("x",), outputs=(Value("y"),)))
    made = {"y": SignatureOutput(0, graph.type_of(graph.outputs[0]))}
    signature = Signature({"x": SignatureInput("x", graph["x"].outputs[0])}, made)
    return Model(graph, {_KEY: signature}), {"x": _drawn(8, *shape)}


def _without_identity(graph: Graph) -> Graph:
    return replace(graph, outputs=(graph["y"].inputs[0],), nodes=tuple(n for n in graph.nodes if n.name != "y"))


def _layers(block: Block, x: Any) -> Any:
    if block.kind == "dense":
        x = tf.reshape(x, [-1, block.width])
    for wide in _kernels(block):
        x = wide(x)
    return x


def _kernels(block: Block) -> Iterator[Any]:
    width = block.width
    for _ in range(block.count):
        if block.kind == "dense":
            yield lambda x: tf.nn.relu(tf.nn.bias_add(tf.matmul(x, _drawn(width, width)), _drawn(width)))
        elif block.kind == "bottleneck":
            yield lambda x: _conv(x, 1, width, 6 * width)
            yield lambda x: tf.nn.relu6(
                tf.nn.bias_add(
                    tf.nn.depthwise_conv2d(x, _drawn(3, 3, 6 * width, 1), [1, 1, 1, 1], "SAME"), _drawn(6 * width)
                )
            )
            yield lambda x: _conv(x, 1, 6 * width, width)
        else:
            yield lambda x: _conv(x, int(block.kind[0]), width, width)


def _conv(x: Any, kernel: int, read: int, made: int) -> Any:
    return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, _drawn(kernel, kernel, read, made), 1, "SAME"), _drawn(made)))


_RNG: Final = np.random.default_rng(0)


def _drawn(*shape: int) -> NDArray[np.float32]:
    return np.asarray(_RNG.standard_normal(shape) / np.sqrt(np.prod(shape[:-1])), np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each block (0.5)")
    main(seconds=parser.parse_args().seconds)
