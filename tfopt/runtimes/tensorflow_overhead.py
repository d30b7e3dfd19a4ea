"""What a call of TensorFlow takes that is in no kernel, measured on graphs that do nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Model, Node, Signature, SignatureInput, SignatureOutput
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.runtimes.tensorflow_calls import kernel_seconds, traced_call
from tfopt.runtimes.trace import calm, in_turns, seconds_of

_CHAIN: Final = 3000
_CALLS: Final = 120


def seconds_around(
    model: Model, signature: str, inputs: Mapping[str, NDArray[Any]], *, threads: int | None, repeats: int
) -> float:
    """To begin a call and to end it: one that hands its inputs back."""
    idle = _idle(model, signature)
    if not idle.graph.outputs:
        return 0.0
    with ModelRunner(idle, threads=threads) as runner:
        return calm([seconds_of(lambda: runner.run(signature, inputs)) for _ in range(repeats)])


@cache
def seconds_between(threads: int | None) -> float:
    """To bring one op to run: what a chain of small ones takes beyond its kernels as traced, so without what reading
    the clock adds to each of these."""
    with ModelRunner(_chain(2), threads=threads) as short, ModelRunner(_chain(2 + _CHAIN), threads=threads) as long:
        return max(0.0, _outside_kernels(long) - _outside_kernels(short)) / _CHAIN


def _outside_kernels(runner: ModelRunner) -> float:
    feeds = {"x": np.array(1, np.float32)}
    seconds, calls = in_turns(lambda: runner.run("chain", feeds), lambda: traced_call(runner, "chain", feeds), _CALLS)
    return min(seconds) - min(sum(map(kernel_seconds, call)) for call in calls)


def _idle(model: Model, signature: str) -> Model:
    """Takes what the signature takes, and hands it back."""
    taken = model.signatures[signature]
    fed = {name: model.graph[entry.node] for name, entry in taken.inputs.items()}
    made = [
        Node(f"{node.name}/back", "Identity", (node.value(),), {"T": node.attrs["dtype"]}, node.outputs)
        for node in fed.values()
    ]
    places = [node.name for node in fed.values()]
    graph = Graph((*fed.values(), *made), inputs=tuple(places), outputs=tuple(node.value() for node in made))
    outputs = {name: SignatureOutput(n, entry.type) for n, (name, entry) in enumerate(taken.inputs.items())}
    return Model(graph, {signature: Signature(taken.inputs, outputs, defaults=taken.defaults)})


def _chain(length: int) -> Model:
    """Ops one after the other, as small as can be: one that computes, one that hands on, and so on."""
    scalar, attrs = (TensorType(DType.FLOAT32, Shape(())),), {"T": DType.FLOAT32}
    nodes = [Node("x", "Placeholder", (), {"dtype": DType.FLOAT32, "shape": Shape(())}, scalar)]
    for n in range(length):
        last = nodes[-1].value()
        op, inputs = ("Identity", (last,)) if n % 2 else ("AddV2", (last, nodes[0].value()))
        nodes.append(Node(f"op{n}", op, inputs, attrs, scalar))
    graph = Graph(tuple(nodes), inputs=("x",), outputs=(nodes[-1].value(),))
    taken, given = SignatureInput("x", scalar[0]), SignatureOutput(0, scalar[0])
    return Model(graph, {"chain": Signature({"x": taken}, {"y": given})})
