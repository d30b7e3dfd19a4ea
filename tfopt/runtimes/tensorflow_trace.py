"""Trace calls of a SavedModel with TensorFlow's own tracer (RunOptions, StepStats)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfopt.formats.tensorflow import tf  # isort: split

from numpy.typing import NDArray
from tensorflow.python.client import pywrap_tf_session

from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Node, Value
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.runtimes.trace import OpTime, calm_ops

#: `name = Op(inputs)`, behind what memory it took.
_LABEL = re.compile(r"= (\w+)\(")


class TensorFlowTracer:
    """A SavedModel whose ops run one after the other, and say how long they took."""

    def __init__(self, directory: Path, *, threads: int | None = None) -> None:
        self.runtime = TensorFlowRuntime(directory, threads=threads, one_op_at_a_time=True)
        self._graph = read_saved_model(directory).graph
        self._options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.SOFTWARE_TRACE)

    def trace(self, signature: str, inputs: Mapping[str, NDArray[Any]], repeats: int) -> list[OpTime]:
        """As `Tracer.trace`. Raises what the runtime raises."""
        batch = next((len(array) for array in inputs.values() if array.ndim), 1)
        calls = [self._ran(signature, inputs) for _ in range(repeats)]
        names = {node.node_name: _own_name(self._graph, node.node_name) for call in calls for node in call}
        covers = _covered(self._graph, set(names.values()))
        return calm_ops(
            [_op_time(self._graph, node, covers.get(names[node.node_name], ()), batch) for node in call]
            for call in calls
        )

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


def _op_time(graph: Graph, ran: Any, covers: tuple[str, ...], batch: int) -> OpTime:
    found = _LABEL.search(ran.timeline_label)
    nodes = [graph[each] for each in covers]
    return OpTime(
        name=ran.node_name,
        op=found[1] if found else "runtime",
        seconds=(ran.op_end_rel_nanos - ran.op_start_rel_nanos) / 1e9,
        covers=covers,
        macs=batch * sum(macs(graph, node) for node in nodes) if nodes else None,
        bytes=_traffic(graph, nodes, batch) if nodes else None,
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


def _traffic(graph: Graph, nodes: Iterable[Node], batch: int) -> int | None:
    """Bytes that enter and leave a group of nodes, a constant when it is read; None when a shape is not known."""
    nodes = [node for node in nodes if node.op != "Const"]
    names = {node.name for node in nodes}
    values = {value for name in names for value in graph[name].inputs if value.node not in names}
    for name in names:
        leaving = [graph[name].value(port) for port in range(len(graph[name].outputs))]
        values.update(v for v in leaving if any(reader.name not in names for reader in graph.readers.get(v, ())))
        values.update(v for v in leaving if v in graph.output_set)
    sizes = [_bytes(graph, value, batch) for value in values]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _bytes(graph: Graph, value: Value, batch: int) -> int | None:
    type_ = graph.type_of(value)
    dims = type_.shape.dims
    if dims is None or None in dims[1:]:
        return None
    size = type_.dtype.itemsize
    for axis, dim in enumerate(dims):
        size *= batch if dim is None and axis == 0 else dim or 0
    return size
