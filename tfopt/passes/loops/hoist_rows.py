"""What a loop does to one row of a tensor after the other, done to all rows at once before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from tfopt.ir.facts import UNARY
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.passes.base import Finding
from tfopt.passes.loops.dense_rows import axis_size
from tfopt.passes.loops.row_reads import RowRead, reads_every_row, row_reads
from tfopt.passes.loops.variables import Loop, replace_loop, with_invariants

_INT32 = DType.INT32
_WITH_VECTOR = frozenset({"Add", "AddV2", "BiasAdd", "Maximum", "Minimum", "Mul", "RealDiv", "Sub"})
_SUMS = frozenset({"Add", "AddV2"})


def hoist_rows(graph: Graph, editor: Editor, loop: Loop, max_bytes: int) -> Iterator[Finding]:
    """Move out products of rows; a finding for each that is, and for each that could be and is not."""
    moved: list[_Chain] = []
    for chain in _chains(graph, loop):
        reason = _reason_to_stay(graph, loop, chain, max_bytes)
        if reason is None:
            moved.append(chain)
        yield Finding(loop.node.name, reason is None, f"{chain.end}: {reason or 'made of all rows at once'}")
    if moved:
        _move(graph, editor, loop, moved)


@dataclass(frozen=True)
class _Chain:
    """Ops that make of a row another row, each of the one before it and of values that no iteration changes; the first
    is a product. Each stands with the input that is the row. `end` is what the last one makes, in the body."""

    read: RowRead
    steps: tuple[tuple[Node, Value], ...]
    end: Value


def _chains(graph: Graph, loop: Loop) -> Iterator[_Chain]:
    fixed = {loop.body.inputs[index] for index in range(loop.count) if loop.is_invariant(index)}
    fixed |= {node.name for node in loop.body.by_op.get("Const", ())}
    for read in row_reads(graph, loop):
        row = read.node.value()
        for reader in loop.body.readers.get(row, ()):
            if _is_product(loop.body, reader, row) and reader.inputs[1].node in fixed:
                yield _extended(loop.body, read, reader, fixed)


def _is_product(body: Graph, node: Node, row: Value) -> bool:
    """A MatMul of the row, whose sizes fit by their types alone."""
    if node.op != "MatMul" or node.inputs[0] != row or node.attrs.get("transpose_a") or node.controls:
        return False
    left, right = (body.type_of(value).shape.dims for value in node.inputs)
    if left is None or right is None or len(left) != 2 or len(right) != 2 or not left[1]:
        return False
    return left[1] == right[1 if node.attrs.get("transpose_b") else 0]


def _extended(body: Graph, read: RowRead, product: Node, fixed: set[str]) -> _Chain:
    """The product and what alone reads it, as far as that is done to a row."""
    steps, end = [(product, read.node.value())], product.value()
    while (reader := _only_reader(body, end)) is not None and _is_done_to_rows(body, reader, end, fixed):
        steps.append((reader, end))
        end = reader.value()
    bias = _bias_behind(body, end, fixed)
    return _Chain(read, (*steps, *([bias] if bias is not None else [])), end)


def _only_reader(body: Graph, value: Value) -> Node | None:
    return body.readers[value][0] if body.is_private(value) else None


def _bias_behind(body: Graph, end: Value, fixed: set[str]) -> tuple[Node, Value] | None:
    """A vector that is added to the sum of `end` and something else, and could as well be added to `end`."""
    total = _only_reader(body, end)
    if total is None or total.op not in _SUMS or body.type_of(end) != total.outputs[0]:
        return None
    bias = _only_reader(body, total.value())
    if bias is None or bias.op not in (*_SUMS, "BiasAdd"):
        return None
    return (bias, total.value()) if _is_done_to_rows(body, bias, total.value(), fixed) else None


def _is_done_to_rows(body: Graph, node: Node, row: Value, fixed: set[str]) -> bool:
    if node.controls or len(node.outputs) != 1:
        return False
    if node.op in UNARY:
        return True
    if node.op not in _WITH_VECTOR or node.attrs.get("data_format", b"NHWC") != b"NHWC":
        return False
    other = next((value for value in node.inputs if value != row), row)
    return other.node in fixed and _is_vector(body, other, body.type_of(row))


def _is_vector(body: Graph, value: Value, row: TensorType) -> bool:
    """A number, or one for each element of a row's last axis: it broadcasts to all rows in the same way as to one."""
    vector, dims = body.type_of(value).shape.dims, row.shape.dims
    return vector is not None and dims is not None and (vector == () or vector in ((1,), dims[-1:])) and bool(dims[-1])


def _reason_to_stay(graph: Graph, loop: Loop, chain: _Chain, max_bytes: int) -> str | None:
    made = loop.body.type_of(chain.end)
    dims = (graph.type_of(chain.read.source).shape.dims or ())[:1] + (made.shape.dims or ())
    size = prod(1 if dim is None else dim for dim in dims) * made.dtype.itemsize
    if size > max_bytes:
        return f"would take {size:,} bytes for one example, more than max_bytes={max_bytes:,}"
    return reads_every_row(graph, loop, chain.read)


def _move(graph: Graph, editor: Editor, loop: Loop, chains: Sequence[_Chain]) -> None:
    rows = [_all_rows(graph, editor, loop, chain) for chain in chains]
    types = [made for _, made in rows]
    wider = with_invariants(loop, types)
    body = Editor(wider.body)
    for place, (chain, made) in enumerate(zip(chains, types, strict=True), loop.count):
        read, end = chain.read.node, loop.body.producer(chain.end)
        inputs = (wider.argument(place), *read.inputs[1:])
        attrs = {**read.attrs, "Tparams": made.dtype}
        body.update(replace(read, name=end.name, inputs=inputs, attrs=attrs, outputs=end.outputs))
        last, summed = chain.steps[-1]
        if last.name != end.name:
            body.redirect(last.value(), summed)
    starts = [*loop.node.inputs, *(value for value, _ in rows)]
    kept = [*range(loop.count), *(None for _ in rows)]
    replace_loop(editor, loop, wider.cond, body.finish(), starts, kept)


def _all_rows(graph: Graph, editor: Editor, loop: Loop, chain: _Chain) -> tuple[Value, TensorType]:
    """What the chain makes of all rows, which are one matrix while it is made."""
    source = chain.read.source
    dims, name = _dims(graph.type_of(source)), chain.steps[0][0].name
    count = None if dims[0] is None or dims[1] is None else dims[0] * dims[1]
    flat = editor.constant(f"{name}/flat/shape", np.array([-1, dims[2]], np.int32))
    matrix = _reshape(
        editor, f"{name}/flat", source, flat, TensorType(graph.type_of(source).dtype, Shape.of(count, dims[2]))
    )
    for node, row in chain.steps:
        made = TensorType(node.outputs[0].dtype, Shape.of(count, _dims(node.outputs[0])[-1]))
        inputs = [matrix if value == row else _outside(editor, loop, value) for value in node.inputs]
        matrix = editor.add(node.op, node.name, inputs, [made], node.attrs).value()
    end = loop.body.type_of(chain.end)
    rows = TensorType(end.dtype, Shape.of(dims[0], dims[1], _dims(end)[-1]))
    return _reshape(editor, f"{name}/rows", matrix, _shape(editor, name, source, rows), rows), rows


def _dims(made: TensorType) -> tuple[int | None, ...]:
    assert made.shape.dims is not None
    return made.shape.dims


def _outside(editor: Editor, loop: Loop, value: Value) -> Value:
    """An argument or a constant of the body, in the graph around the loop."""
    node = loop.body.producer(value)
    if node.op == "Const":
        return editor.add("Const", node.name, (), node.outputs, node.attrs).value()
    return loop.node.inputs[loop.body.inputs.index(node.name)]


def _shape(editor: Editor, name: str, source: Value, rows: TensorType) -> Value:
    """The shape of all rows, as a constant where one size at most is unknown."""
    dims = _dims(rows)
    if dims.count(None) <= 1:
        return editor.constant(f"{name}/shape", np.array([-1 if dim is None else dim for dim in dims], np.int32))
    sizes = [axis_size(editor, f"{name}/size", source, number) for number in (0, 1)]
    sizes.append(editor.constant(f"{name}/size", np.array(dims[2], np.int32)))
    attrs: dict[str, AttrValue] = {"T": _INT32, "N": 3, "axis": 0}
    return editor.add("Pack", f"{name}/shape", sizes, [TensorType(_INT32, Shape.of(3))], attrs).value()


def _reshape(editor: Editor, name: str, value: Value, shape: Value, made: TensorType) -> Value:
    return editor.add("Reshape", name, (value, shape), [made], {"T": made.dtype, "Tshape": _INT32}).value()
