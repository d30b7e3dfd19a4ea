"""A list of tensors as one tensor, whose row `i` is item `i`: made, read and written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeAlias

import numpy as np

from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import Dims, Size, product
from tfopt.ir.types import SCALAR, DType, Shape, TensorType, numpy_dtype
from tfopt.passes.loops.lists import ListVariable
from tfopt.passes.loops.variables import Loop, placeholder, with_invariants

_INT32 = DType.INT32
_VECTOR = TensorType(_INT32, Shape.of(1))
_Attrs: TypeAlias = "dict[str, AttrValue]"


@dataclass(frozen=True)
class Rows:
    """The tensor `value` that a list variable starts with, and what is known of it in every iteration.

    `amount` is an int32 vector of one number that is 0 when the rows are empty, and None where they never are, or where
    nobody writes them one by one.
    """

    variable: ListVariable
    value: Value
    type: TensorType
    amount: Value | None = None

    @property
    def is_single(self) -> bool:
        """Is there one row only?"""
        return (self.type.shape.dims or (None,))[0] == 1


def rows_of_tensor(graph: Graph, variable: ListVariable) -> Rows:
    """The rows of a list that is made of a tensor."""
    value = variable.origin.inputs[0]
    return Rows(variable, value, graph.type_of(value))


def zero_rows(editor: Editor, variable: ListVariable, dims: Dims) -> Rows:
    """Rows of zeros: `dims` are those of the whole tensor, the first one the length that the list is made with."""
    name = variable.origin.name
    rows = [variable.origin.inputs[1], *(_size(editor, f"{name}/size", dim) for dim in dims[1:])]
    attrs: _Attrs = {"T": _INT32, "N": len(rows), "axis": 0}
    shape = editor.add("Pack", f"{name}/shape", rows, [TensorType(_INT32, Shape.of(len(rows)))], attrs)
    zero = editor.constant(f"{name}/zero", np.zeros((), numpy_dtype(variable.dtype)), variable.dtype)
    made = TensorType(variable.dtype, Shape(tuple(dim.number for dim in dims)))
    fill = editor.add("Fill", name, (shape.value(), zero), [made], {"T": made.dtype, "index_type": _INT32})
    return Rows(variable, fill.value(), made)


def with_amount(editor: Editor, rows: Rows, dims: Dims) -> Rows:
    """The rows with their `amount`: `dims` are those of the whole tensor."""
    unknown = product(dims[1:]).unknown
    if rows.is_single or not unknown:
        return rows
    name = f"{rows.variable.origin.name}/amount"
    attrs: _Attrs = {"T": _INT32, "Tdim": _INT32}
    axis = editor.constant(f"{name}/axis", np.array(0, np.int32))
    number = _size(editor, name, Size(1, tuple(sorted(set(unknown)))))
    return replace(rows, amount=editor.add("ExpandDims", name, (number, axis), [_VECTOR], attrs).value())


def _size(editor: Editor, name: str, size: Size) -> Value:
    """A scalar int32 that is the size when the graph runs."""
    axes = [axis_size(editor, name, Value(symbol.node, symbol.port), symbol.place) for symbol in size.unknown]
    if size.factor != 1 or not axes:
        axes.append(editor.constant(name, np.array(size.factor, np.int32)))
    made = [TensorType(_INT32, SCALAR)]
    return reduce(lambda left, right: editor.add("Mul", name, (left, right), made, {"T": _INT32}).value(), axes)


def axis_size(editor: Editor, name: str, value: Value, axis: int) -> Value:
    """The runtime size of a value's axis, a scalar int32."""
    made = editor.graph.type_of(value)
    attrs: _Attrs = {"T": made.dtype, "out_type": _INT32}
    outputs = [TensorType(_INT32, Shape.of(made.shape.rank))]
    shape = editor.add("Shape", f"{name}/Shape", (value,), outputs, attrs)
    return _element(editor, name, shape.value(), axis).value()


def _element(editor: Editor, name: str, vector: Value, place: int) -> Node:
    ends = [editor.constant(f"{name}/{what}", np.array([at], np.int32)) for what, at in _slice(place)]
    return editor.add("StridedSlice", name, (vector, *ends), [TensorType(_INT32, SCALAR)], _ELEMENT)


def _slice(place: int) -> tuple[tuple[str, int], ...]:
    return ("begin", place), ("end", place + 1), ("strides", 1)


_ELEMENT: _Attrs = {
    "T": _INT32,
    "Index": _INT32,
    "begin_mask": 0,
    "end_mask": 0,
    "ellipsis_mask": 0,
    "new_axis_mask": 0,
    "shrink_axis_mask": 1,
}


def carry_rows(graph: Graph, editor: Editor, loop: Loop, rows: list[Rows]) -> None:
    """Let the loop carry tensors in the place of lists; its variables keep their places, amounts come behind them."""
    node, amounts = loop.node, list(dict.fromkeys(item.amount for item in rows if item.amount is not None))
    inputs, outputs = [*node.inputs, *amounts], [*node.outputs, *[_VECTOR] * len(amounts)]
    places = {amount: loop.count + number for number, amount in enumerate(amounts)}
    loop = with_invariants(loop, [_VECTOR] * len(amounts)) if amounts else loop
    cond, body = Editor(loop.cond), Editor(loop.body)
    for item in rows:
        index = item.variable.index
        inputs[index], outputs[index] = item.value, item.type
        for function in (cond, body):
            names = function.graph.inputs
            _carry_in(function, names[index], item, Value(names[places[item.amount]]) if item.amount else None)
        for reader in item.variable.readers:
            _read(editor, reader, node.value(index), item)
    attrs: _Attrs = {
        "cond": cond.finish(),
        "body": body.finish(),
        "T": tuple(out.dtype for out in outputs),
        "output_shapes": tuple(out.shape for out in outputs),
    }
    changed = replace(node, inputs=tuple(inputs), outputs=tuple(outputs), attrs={**node.attrs, **attrs})
    editor.update(changed)


def _carry_in(function: Editor, argument: str, rows: Rows, amount: Value | None) -> None:
    """Each op on the list becomes one on the tensor under the same name, so that who reads it need not change."""
    function.update(placeholder(argument, rows.type))
    versions = {Value(argument)}
    for node in function.graph:
        if not node.inputs or node.inputs[0] not in versions:
            continue
        if node.op == "TensorListSetItem":
            _write(function, node, rows, amount)
        elif node.op in IDENTITIES:
            function.update(replace(node, attrs={"T": rows.type.dtype}, outputs=(rows.type,)))
        else:
            _read(function, node, node.inputs[0], rows)
            continue
        versions.add(node.value())


def _read(editor: Editor, node: Node, tensor: Value, rows: Rows) -> None:
    """Let what reads a list read the tensor."""
    if node.op == "TensorListStack":
        editor.redirect(node.value(), tensor)
    elif node.op == "TensorListLength":
        editor.redirect(node.value(), _length(editor, node, rows))
    else:
        _gather(editor, node, tensor, rows)


def _length(editor: Editor, node: Node, rows: Rows) -> Value:
    """An item that is set changes no length, so any version of the list will do."""
    count = (rows.type.shape.dims or (None,))[0]
    if count is not None:
        return editor.constant(node.name, np.array(count, np.int32))
    shape_type = TensorType(_INT32, Shape.of(rows.type.shape.rank))
    attrs: _Attrs = {"T": rows.type.dtype, "out_type": _INT32}
    shape = editor.add("Shape", f"{node.name}/Shape", (node.inputs[0],), [shape_type], attrs)
    return _element(editor, node.name, shape.value(), 0).value()


def _gather(editor: Editor, node: Node, tensor: Value, rows: Rows) -> None:
    """Row `i`, or several."""
    places = editor.graph.type_of(node.inputs[1]).shape
    row = None if rows.type.shape.dims is None else rows.type.shape.dims[1:]
    dims = None if places.dims is None or row is None else (*places.dims, *row)
    axis = editor.constant(f"{node.name}/axis", np.array(0, np.int32))
    attrs: _Attrs = {"Tparams": rows.type.dtype, "Tindices": _INT32, "Taxis": _INT32, "batch_dims": 0}
    outputs = (TensorType(rows.type.dtype, Shape(dims)),)
    editor.update(replace(node, op="GatherV2", inputs=(tensor, node.inputs[1], axis), attrs=attrs, outputs=outputs))


def _write(editor: Editor, node: Node, rows: Rows, amount: Value | None) -> None:
    """Set a row: TensorScatterUpdate takes a matrix of places and as many rows. The only row is all there is."""
    tensor, place, item = node.inputs
    axis = editor.constant(f"{node.name}/axis", np.array(0, np.int32))
    made = TensorType(rows.type.dtype, Shape.of(1, *(rows.type.shape.dims or ())[1:]))
    attrs: _Attrs = {"T": rows.type.dtype, "Tdim": _INT32}
    if rows.is_single:
        editor.update(replace(node, op="ExpandDims", inputs=(item, axis), attrs=attrs, outputs=(made,)))
        return
    update = editor.add("ExpandDims", f"{node.name}/row", (item, axis), [made], attrs)
    matrix = editor.constant(f"{node.name}/place/shape", np.array([1, 1], np.int32))
    made = TensorType(_INT32, Shape.of(1, 1))
    places = editor.add("Reshape", f"{node.name}/place", (place, matrix), [made], {"T": _INT32, "Tshape": _INT32})
    if amount is not None:
        places, update = (unless_empty(editor, made, amount) for made in (places, update))
    attrs = {"T": rows.type.dtype, "Tindices": _INT32, "bad_indices_policy": b""}
    inputs = (tensor, places.value(), update.value())
    editor.update(replace(node, op="TensorScatterUpdate", inputs=inputs, attrs=attrs, outputs=(rows.type,)))


def unless_empty(editor: Editor, node: Node, amount: Value) -> Node:
    """What a node makes, whose first dim is 1, and 0 where the amount is: TensorScatterUpdate takes no place of a
    tensor without elements."""
    (made,) = node.outputs
    ends = [editor.constant(f"{node.name}/{name}", np.array([at], np.int32)) for name, at in (("from", 0), ("by", 1))]
    outputs = [TensorType(made.dtype, Shape.of(None, *(made.shape.dims or ())[1:]))]
    attrs: _Attrs = {**_ELEMENT, "T": made.dtype, "shrink_axis_mask": 0}
    return editor.add("StridedSlice", f"{node.name}/some", (node.value(), ends[0], amount, ends[1]), outputs, attrs)
