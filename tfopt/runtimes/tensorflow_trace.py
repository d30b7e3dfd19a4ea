"""Trace calls of a SavedModel with TensorFlow's own tracer (RunOptions, StepStats)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tfopt.formats.saved_model import read_saved_model
from tfopt.formats.shapes import with_types
from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Model, Node
from tfopt.ir.types import Shape
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.runtimes.tensorflow_calls import kernel_seconds, traced_call
from tfopt.runtimes.tensorflow_overhead import seconds_around, seconds_between
from tfopt.runtimes.trace import OpTime, Trace, calm, calm_ops, in_turns

#: `name = Op(inputs)`, behind what memory it took.
_LABEL = re.compile(r"= (\w+)\(")
#: What a call takes besides its ops, and what all of them take besides their kernels.
_AROUND = "the call itself"
_BETWEEN = "bringing ops to run"


class TensorFlowTracer:
    """A SavedModel whose ops run one after the other, and say how long they took."""

    def __init__(self, directory: Path, *, threads: int | None = None) -> None:
        self._threads = threads
        self.runtime = TensorFlowRuntime(directory, threads=threads, one_op_at_a_time=True)
        self._model = read_saved_model(directory)

    def trace(self, signature: str, inputs: Mapping[str, NDArray[Any]], repeats: int) -> Trace:
        """As `Tracer.trace`. Raises what the runtime raises.

        An op's time is its kernel's, as traced, in a call that comes behind an untraced one: what tracing leaves in the
        caches is not what an op finds. The ops of a loop stand beside all others; a loop that TensorFlow runs as a
        function is one op, whose body is not traced. What is in no kernel comes last, measured by itself: to begin a
        call and to end it on a graph that does nothing, to bring an op to run on a chain of small ones, less what
        reading the clock adds to their kernels.
        """
        seconds, calls = in_turns(
            lambda: self.runtime.run(signature, inputs), lambda: traced_call(self.runtime, signature, inputs), repeats
        )
        graph = _as_run(self._model, signature, inputs)
        names = {node.node_name: _own_name(graph, node.node_name) for call in calls for node in call}
        covers = _covered(graph, set(names.values()))
        ops = calm_ops(
            [_op_time(graph, node, covers.get(names[node.node_name], ())) for node in call] for call in calls
        )
        count = sum(op.times for op in ops)
        around = seconds_around(self._model, signature, inputs, threads=self._threads, repeats=repeats)
        between = count * seconds_between(self._threads)
        rest = [OpTime(_AROUND, _AROUND, around), OpTime(_BETWEEN, _BETWEEN, between, times=count)]
        return Trace([*ops, *rest], calm(seconds))


def _as_run(model: Model, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Graph:
    """The graph with the shapes that these inputs give it."""
    entries = model.signatures[signature].inputs
    fed = {entries[name].node: Shape(array.shape) for name, array in inputs.items()}
    nodes = (node.with_attrs(shape=fed[node.name]) if node.name in fed else node for node in model.graph)
    return replace(model.graph, nodes=with_types(tuple(nodes)))


def _op_time(graph: Graph, ran: Any, covers: tuple[str, ...]) -> OpTime:
    found = _LABEL.search(ran.timeline_label)
    nodes = [graph[each] for each in covers]
    return OpTime(
        name=ran.node_name,
        op=found[1] if found else "runtime",
        seconds=kernel_seconds(ran),
        covers=covers,
        macs=sum(macs(graph, node) for node in nodes) if nodes else None,
        bytes=_traffic(graph, nodes) if nodes else None,
        integer=found is not None and "Quantized" in found[1],
    )


def _own_name(graph: Graph, name: str) -> str:
    """What our graph calls a node: TensorFlow puts the calls that it has inlined before the name, and what its
    optimizers made of it behind `/_`, `-` or `:`."""
    plain = re.split(r":|/_\d+$|-\d+-", name)[0]
    shorter = plain
    while shorter and shorter not in graph:
        shorter = shorter.partition("/")[2]
    return shorter or plain


def _covered(graph: Graph, ran: set[str]) -> Mapping[str, tuple[str, ...]]:
    """For every node that ran, itself and those before it that did not: they were fused into it, or computed ahead."""
    found: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for node in graph.nodes:
        if node.name in ran:
            group = [name for name in _fused(graph, node, ran) if name not in taken]
            taken.update(group)
            found[node.name] = tuple(reversed(group))
    return found


def _fused(graph: Graph, node: Node, ran: set[str]) -> Iterator[str]:
    stack, seen = [node.name], {node.name}
    while stack:
        name = stack.pop()
        yield name
        for value in graph[name].inputs:
            maker = graph.producer(value)
            if maker.name not in ran and maker.name not in seen and maker.op not in ("Const", "Placeholder"):
                seen.add(maker.name)
                stack.append(maker.name)


def _traffic(graph: Graph, nodes: Iterable[Node]) -> int | None:
    """Bytes that enter and leave a group of nodes, a constant when it is read; None when a shape is not known."""
    group = {node.name: node for node in nodes if node.op != "Const"}
    values = {value for node in group.values() for value in node.inputs if value.node not in group}
    for node in group.values():
        for value in (node.value(port) for port in range(len(node.outputs))):
            readers = graph.readers.get(value, ())
            if value in graph.output_set or any(reader.name not in group for reader in readers):
                values.add(value)
    types = [graph.type_of(value) for value in values]
    if not all(type_.shape.is_static for type_ in types):
        return None
    return sum(type_.dtype.itemsize * prod(dim or 0 for dim in type_.shape.dims or ()) for type_ in types)
