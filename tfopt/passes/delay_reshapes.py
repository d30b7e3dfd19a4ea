"""Do bias and activation of a layer before its rows are put back into batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np

from tfopt.ir.facts import BINARY, UNARY
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import numbers
from tfopt.ir.types import Shape, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass

_POINTWISE = UNARY | BINARY | {"BiasAdd"}


@graph_pass
def delay_reshapes(graph: Graph) -> Graph | Outcome:
    """Move the Reshape behind a MatMul past the elementwise ops that follow.

        %m = MatMul(%rows, %w)                        %m = MatMul(%rows, %w)
        %r = Reshape(%m, [-1, 8, 64])                 %b = BiasAdd(%m, %bias)
        %b = BiasAdd(%r, %bias)                ->     %a = Relu(%b)
        %y = Relu(%b)                                 %y = Reshape(%a, [-1, 8, 64])

    A layer over a sequence (Tensordot, Einsum) is a MatMul of its rows. With the bias and the activation right behind
    it, TensorFlow runs all three in one kernel, and the next such layer needs no Reshape in between. This is done
    where one value leaves those elementwise ops, and where what else they read is a constant of the last axis, or of
    all the axes into which that of the MatMul is split (the heads of attention).
    """
    sizes, editor = KnownSizes(graph), Editor(graph)
    findings = []
    for node in graph.by_op.get("Reshape", ()):
        if graph.producer(node.inputs[0]).op != "MatMul" or node.controls:
            continue
        columns = _columns(sizes, node)
        region = _region(graph, node, columns) if columns is not None else {}
        if not region:
            continue
        exits = [name for name in region if _leaves(graph, region, graph[name])]
        reason = _reason_to_stay(graph, node, region, exits)
        if reason is None:
            _move(graph, editor, node, region, graph[exits[0]])
        findings.append(Finding(node.name, reason is None, reason or f"stands behind {exits[0]}"))
    return Outcome(editor.finish(), tuple(findings))


def _columns(sizes: KnownSizes, node: Node) -> tuple[int, ...] | None:
    """The last axes, that together are the columns of the MatMul."""
    before, after = sizes.dims(node.inputs[0]), sizes.dims(node.value())
    if before is None or after is None:
        return None
    for count in range(1, len(after) - 1):
        columns = numbers(after[-count:])
        # A single column would not be told from a row.
        if columns is not None and prod(columns) == before[-1].number and 1 not in columns:
            return columns
    return None


def _region(graph: Graph, node: Node, columns: tuple[int, ...]) -> dict[str, None]:
    """The elementwise nodes that read nothing but the Reshape, each other, and constants of the columns."""
    rank = node.outputs[0].shape.rank
    region: dict[str, None] = {}
    stack = list(_readers(graph, node))
    while stack:
        reader = stack.pop()
        if reader.name in region or not _is_pointwise(reader, columns) or reader.outputs[0].shape.rank != rank:
            continue
        inside = (value.node == node.name or value.node in region for value in reader.inputs)
        if all(own or _is_for_columns(graph, v, columns) for own, v in zip(inside, reader.inputs, strict=True)):
            region[reader.name] = None
            stack += _readers(graph, reader)
    return region


def _is_pointwise(node: Node, columns: tuple[int, ...]) -> bool:
    if node.op == "BiasAdd" and (len(columns) > 1 or node.attrs.get("data_format", b"NHWC") != b"NHWC"):
        return False
    return node.op in _POINTWISE and not node.controls


def _readers(graph: Graph, node: Node) -> Iterator[Node]:
    return iter(graph.readers.get(node.value(), ()))


def _is_for_columns(graph: Graph, value: Value, columns: tuple[int, ...]) -> bool:
    """Is it a constant that is the same for every row?"""
    tensor = graph.constant(value)
    if tensor is None or value.node in graph.targets:
        return False
    dims = tensor.array.shape
    rows = dims[: max(len(dims) - len(columns), 0)]
    return tensor.array.size == 1 or (dims[len(rows) :] == columns and all(dim == 1 for dim in rows))


def _leaves(graph: Graph, region: dict[str, None], node: Node) -> bool:
    return node.value() in graph.output_set or any(r.name not in region for r in _readers(graph, node))


def _reason_to_stay(graph: Graph, node: Node, region: dict[str, None], exits: list[str]) -> str | None:
    others = [reader.name for reader in _readers(graph, node) if reader.name not in region]
    if others or node.value() in graph.output_set:
        return f"is read by {', '.join(others) or 'the caller'} too"
    if not graph.is_private(node.inputs[0]):
        return f"{node.inputs[0]} is read by others too"
    return f"{len(exits)} values of the elementwise ops behind it are read" if len(exits) != 1 else None


def _move(graph: Graph, editor: Editor, node: Node, region: dict[str, None], last: Node) -> None:
    rows = graph.type_of(node.inputs[0]).shape
    for name in region:
        member = graph[name]
        inputs = [node.inputs[0] if v == node.value() else _as_vector(graph, editor, v) for v in member.inputs]
        made = TensorType(member.outputs[0].dtype, rows)
        editor.update(replace(member, inputs=tuple(inputs), outputs=(made,)))
    attrs = {**node.attrs, "T": last.outputs[0].dtype}
    made = TensorType(last.outputs[0].dtype, _last_shape(node, last))
    behind = editor.add("Reshape", f"{node.name}/behind", (last.value(), node.inputs[1]), [made], attrs)
    editor.redirect(last.value(), behind.value())


def _last_shape(node: Node, last: Node) -> Shape:
    """What is known of the dims before or behind the ops: they have the same."""
    dims = node.outputs[0].shape.dims, last.outputs[0].shape.dims
    if dims[0] is None or dims[1] is None:
        return node.outputs[0].shape
    return Shape(tuple(a if a is not None else b for a, b in zip(dims[0], dims[1], strict=True)))


def _as_vector(graph: Graph, editor: Editor, value: Value) -> Value:
    """A constant of more than one axis would broadcast the rows to as many."""
    tensor = graph.constant(value)
    if tensor is None or tensor.array.ndim <= 1:
        return value
    return editor.constant(f"{value.node}/vector", np.reshape(tensor.array, -1), tensor.dtype)
