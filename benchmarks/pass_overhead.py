"""What a pass costs when it has nothing to do: milliseconds per pass on a graph of 10,000 nodes.

    python benchmarks/pass_overhead.py [--nodes 10000] [--rounds 7] [--json]

The mark is 50 ms. The graph is a chain of convolution blocks with residual sums, each node with its own constants,
in which every pass finds its ops and nothing to change. Passes run in a fresh copy of the graph, so that the indices
which a graph keeps of itself are paid for each time.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import replace
from importlib.metadata import version

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Model, Node, Value
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.ir.verify import verify
from tfopt.passes.registry import BUILTIN, steps

MARK_MS = 50.0

#: Options with which a lossy pass has nothing to do either.
OPTIONS = {"prune_magnitude": {"exclude": ("*",)}, "to_bfloat16": {"skip": ("*",)}}

#: One always does something, the others follow the channels of the whole model first, once and by request.
_OTHERS = frozenset({"drop_outputs", "merge_neurons", "prune_channels"})
PASSES = [name for name in BUILTIN if steps()[name].kind == "pass" and not steps()[name].needs and name not in _OTHERS]

_T: dict[str, AttrValue] = {"T": DType.FLOAT32}
_CONV: dict[str, AttrValue] = {**_T, "strides": (1, 1, 1, 1), "padding": b"SAME", "data_format": b"NHWC"}
_BIAS: dict[str, AttrValue] = {**_T, "data_format": b"NHWC"}
_DATA = TensorType(DType.FLOAT32, Shape.of(None, 8, 8, 4))


def convolutions(count: int) -> Graph:
    """Blocks of six nodes (filter, Conv2D, bias, BiasAdd, Relu, AddV2 around them), about `count` nodes in all."""
    rng = np.random.default_rng(0)
    nodes = [Node("x", "Placeholder", (), {"dtype": DType.FLOAT32, "shape": _DATA.shape}, (_DATA,))]
    last = Value("x")
    for block in range((count - 1) // 6):
        name = f"block_{block}"
        weights = (
            constant_node(f"{name}/filter", _random(rng, 1, 1, 4, 4)),
            constant_node(f"{name}/shift", _random(rng, 4)),
        )
        conv = Node(f"{name}/conv", "Conv2D", (last, weights[0].value()), _CONV, (_DATA,))
        bias = Node(f"{name}/bias", "BiasAdd", (conv.value(), weights[1].value()), _BIAS, (_DATA,))
        relu = Node(f"{name}/relu", "Relu", (bias.value(),), _T, (_DATA,))
        add = Node(f"{name}/add", "AddV2", (relu.value(), last), _T, (_DATA,))
        nodes += [*weights, conv, bias, relu, add]
        last = add.value()
    return Graph(tuple(nodes), inputs=("x",), outputs=(last,))


def _random(rng: np.random.Generator, *shape: int) -> Tensor:
    return Tensor(rng.standard_normal(shape).astype(np.float32))


def milliseconds(name: str, graph: Graph, rounds: int) -> float:
    """The median of `rounds` runs of one pass. Raises AssertionError when the pass changes the graph."""
    step, taken = steps()[name], []
    for _ in range(rounds):
        fresh = replace(graph)
        start = time.perf_counter()
        outcome = step.run_model(Model(fresh, {}), OPTIONS.get(name))
        taken.append(1000 * (time.perf_counter() - start))
        assert outcome.model.graph is fresh, f"{name} changed the graph"
    return statistics.median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    graph = convolutions(options.nodes)
    verify(graph)
    taken = {name: milliseconds(name, graph, options.rounds) for name in PASSES}
    machine = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "tfopt": version("tfopt"),
        "nodes": len(graph),
    }
    if options.json:
        print(json.dumps({**machine, "milliseconds": taken, "mark": MARK_MS}))
    else:
        print(", ".join(f"{key} {value}" for key, value in machine.items()))
        for name, ms in taken.items():
            print(f"{name:20} {ms:7.1f} ms  {'ok' if ms < MARK_MS else 'over the mark of 50 ms'}")
    return 0 if max(taken.values()) < MARK_MS else 1


if __name__ == "__main__":
    sys.exit(main())
