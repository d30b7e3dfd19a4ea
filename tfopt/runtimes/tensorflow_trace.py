"""Trace calls of a SavedModel with TensorFlow's own tracer (RunOptions, StepStats)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from tfopt.formats.tensorflow import tf  # isort: split

from numpy.typing import NDArray
from tensorflow.python.client import pywrap_tf_session

from tfopt.formats.saved_model import read_saved_model
from tfopt.formats.shapes import with_types
from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Model, Node, Signature, SignatureOutput
from tfopt.ir.types import Shape
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.runtimes.trace import OpTime, Trace, calm, calm_ops, in_turns, seconds_of

#: `name = Op(inputs)`, behind what memory it took.
_LABEL = re.compile(r"= (\w+)\(")
#: What a call takes besides its ops.
_AROUND = "the call itself"


class TensorFlowTracer:
    """A SavedModel whose ops run one after the other, and say how long they took."""

    def __init__(self, directory: Path, *, threads: int | None = None) -> None:
        self._threads = threads
        self.runtime = TensorFlowRuntime(directory, threads=threads, one_op_at_a_time=True)
        self._model = read_saved_model(directory)
        self._options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.SOFTWARE_TRACE)

    def trace(self, signature: str, inputs: Mapping[str, NDArray[Any]], repeats: int) -> Trace:
        """As `Tracer.trace`. Raises what the runtime raises.

        An op's time is its kernel's, as traced: the tracer writes its records between the ops. What TensorFlow takes to
        bring an op to run is in no op's time, and what reading the clock adds to each is not taken off. To begin a call
        and to end it is the last, measured by itself, on a graph that does nothing. The ops of a loop stand beside all
        others; a loop that TensorFlow runs as a function is one op, whose body is not traced.
        """
        seconds, calls = in_turns(
            lambda: self.runtime.run(signature, inputs), lambda: self._ran(signature, inputs), repeats
        )
        graph = _as_run(self._model, signature, inputs)
        names = {node.node_name: _own_name(graph, node.node_name) for call in calls for node in call}
        covers = _covered(graph, set(names.values()))
        ops = calm_ops(
            [_op_time(graph, node, covers.get(names[node.node_name], ())) for node in call] for call in calls
        )
        return Trace([*ops, *self._around(signature, inputs, repeats)], calm(seconds))

    def _around(self, signature: str, inputs: Mapping[str, NDArray[Any]], repeats: int) -> list[OpTime]:
        model = _idle(self._model, signature)
        if not model.graph.outputs:
            return []
        with ModelRunner(model, threads=self._threads) as runner:
            seconds = [seconds_of(lambda: runner.run(signature, inputs)) for _ in range(repeats)]
        return [OpTime(_AROUND, _AROUND, calm(seconds))]

    def _ran(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> list[Any]:
        """The nodes of one call in the order in which they ran."""
        options = pywrap_tf_session.TF_NewBufferFromString(self._options.SerializeToString())
        metadata = pywrap_tf_session.TF_NewBuffer()
        try:
            self.runtime.run(signature, inputs, options=options, metadata=metadata)
            told = tf.compat.v1.RunMetadata.FromString(pywrap_tf_session.TF_GetBuffer(metadata))
        finally:
            pywrap_tf_session.TF_DeleteBuffer(options)
            pywrap_tf_session.TF_DeleteBuffer(metadata)
        ran = (node for device in told.step_stats.dev_stats for node in device.node_stats)
        return sorted(ran, key=lambda node: int(node.all_start_nanos))


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
        seconds=(ran.op_end_rel_nanos - ran.op_start_rel_nanos) / 1e9,
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
