"""Write an Einsum that is one multiplication of matrices as that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import Dims
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.layout.equation import Equation, equation

_MATMUL: dict[str, AttrValue] = {"transpose_a": False, "transpose_b": False, "grad_a": False, "grad_b": False}


@graph_pass
def simplify_einsum(graph: Graph) -> Graph | Outcome:
    """Write an Einsum as MatMul, BatchMatMul or Transpose where it is one.

        %y = Einsum(%x, %w) {'abc,cde->abde'}     ->     %r = Reshape(%x, [-1, c])
                                                         %m = MatMul(%r, [c, d*e])
                                                         %y = Reshape(%m, [a, b, d, e])

    These are layers with a constant weight (Keras' EinsumDense, the projections of MultiHeadAttention), whatever the
    batch and the length: TensorFlow fuses MatMul with the bias and the activation behind it, and passes over MatMul
    see the layer. Products of two computed tensors become BatchMatMulV2 where no axis has to move; where some do,
    as in `btnh,bsnh->bnts`, Einsum moves them itself, in one op and as fast, and stays.
    """
    sizes, editor = KnownSizes(graph), Editor(graph)
    findings = []
    for node in graph.by_op.get("Einsum", ()):
        if not graph.is_read(node.value()):
            continue
        done = _simplified(graph, editor, sizes, node)
        findings.append(Finding(node.name, not done.startswith("left:"), done.removeprefix("left: ")))
    return Outcome(editor.finish(), tuple(findings))


def _simplified(graph: Graph, editor: Editor, sizes: KnownSizes, node: Node) -> str:
    """What was done, or `left: ` and why nothing was."""
    found = equation(graph, node)
    if isinstance(found, str):
        return f"left: {found}"
    if len(found.operands) == 1:
        return _moved(editor, node, found)
    if not node.outputs[0].dtype.is_floating:
        return f"left: multiplies {node.outputs[0].dtype}"
    if set(found.operands[0]) & set(found.operands[1]) <= set(found.result):
        return "left: multiplies elements, not matrices"
    layer = _layer(graph, found, node)
    if layer is not None:
        return _as_matmul(graph, editor, sizes, node, found, layer)
    return _as_batch_matmul(editor, node, found)


def _moved(editor: Editor, node: Node, found: Equation) -> str:
    (labels,) = found.operands
    if len(set(labels)) != len(labels) or set(labels) != set(found.result):
        return "left: is no multiplication"
    perm = editor.constant(f"{node.name}/perm", np.array([labels.index(label) for label in found.result], np.int32))
    attrs: dict[str, AttrValue] = {"T": node.outputs[0].dtype, "Tperm": DType.INT32}
    editor.update(replace(node, op="Transpose", inputs=(*node.inputs, perm), attrs=attrs))
    return "is a Transpose"


@dataclass(frozen=True, slots=True)
class _Layer:
    """Data of labels `batch` and `inner` times a weight of `inner` and `outer`; `outer` is in front if `transposed`."""

    weight: int
    batch: str
    inner: str
    outer: str
    transposed: bool


def _layer(graph: Graph, found: Equation, node: Node) -> _Layer | None:
    for weight in (1, 0):
        tensor = graph.constant(node.inputs[weight])
        if tensor is None or not tensor.array.size:
            continue
        data, held = found.operands[1 - weight], found.operands[weight]
        inner = "".join(label for label in data if label in held)
        outer = "".join(label for label in held if label not in data)
        batch = data[: len(data) - len(inner)]
        fits = data == batch + inner and found.result == batch + outer and held in (inner + outer, outer + inner)
        if inner and outer and fits:
            return _Layer(weight, batch, inner, outer, held != inner + outer)
    return None


def _as_matmul(graph: Graph, editor: Editor, sizes: KnownSizes, node: Node, found: Equation, layer: _Layer) -> str:
    tensor = graph.constant(node.inputs[layer.weight])
    assert tensor is not None, "_layer has looked"
    dims = dict(zip(found.operands[layer.weight], tensor.array.shape, strict=True))
    rows, columns = prod(dims[label] for label in layer.inner), prod(dims[label] for label in layer.outer)
    data, weight = node.inputs[1 - layer.weight], node.inputs[layer.weight]
    flat = (columns, rows) if layer.transposed else (rows, columns)
    if tensor.array.shape != flat:
        weight = editor.constant(f"{weight.node}/matrix", tensor.array.reshape(flat), tensor.dtype)
    matrix = len(layer.batch) == 1 and len(layer.inner) == 1
    if not matrix:
        data = _reshaped(editor, node, f"{node.name}/rows", data, (None, rows))
    kind = node.outputs[0].dtype
    attrs = {**_MATMUL, "T": kind, "transpose_b": layer.transposed}
    if len(layer.batch) == 1 and len(layer.outer) == 1:
        editor.update(replace(node, op="MatMul", inputs=(data, weight), attrs=attrs))
        return "is a MatMul"
    many = graph.type_of(data).shape.dims if matrix else None
    made = TensorType(kind, Shape.of(None if many is None else many[0], columns))
    product = editor.add("MatMul", f"{node.name}/matmul", (data, weight), [made], attrs, node.controls)
    shape = _result_shape(graph, editor, sizes, node, layer, [dims[label] for label in layer.outer])
    last: dict[str, AttrValue] = {"T": kind, "Tshape": DType.INT32}
    editor.update(replace(node, op="Reshape", inputs=(product.value(), shape), attrs=last))
    return "is a MatMul of its rows"


def _reshaped(editor: Editor, node: Node, name: str, value: Value, dims: Sequence[int | None]) -> Value:
    shape = editor.constant(f"{name}/shape", np.array([-1 if dim is None else dim for dim in dims], np.int32))
    kind = node.outputs[0].dtype
    made = TensorType(kind, Shape(tuple(dims)))
    return editor.add("Reshape", name, (value, shape), [made], {"T": kind, "Tshape": DType.INT32}).value()


def _result_shape(
    graph: Graph, editor: Editor, sizes: KnownSizes, node: Node, layer: _Layer, outer: list[int]
) -> Value:
    """Batch dims of the data, then those of the weight: a constant where one of them at most is unknown."""
    data = node.inputs[1 - layer.weight]
    batch: Dims = (sizes.dims(data) or ())[: len(layer.batch)]
    known = [size.number for size in batch]
    if known.count(None) <= 1 and 0 not in known:
        items = [-1 if number is None else number for number in known]
        return editor.constant(f"{node.name}/shape", np.array([*items, *outer], np.int32))
    name, count = f"{node.name}/shape", len(batch)
    kind = graph.type_of(data).dtype
    vector = [TensorType(DType.INT32, Shape.of(count + len(layer.inner)))]
    whole = editor.add("Shape", f"{name}/data", (data,), vector, {"T": kind, "out_type": DType.INT32})
    ends = [editor.constant(f"{name}/{at}", np.array([at], np.int32)) for at in (0, count, 1)]
    masks = dict.fromkeys(("begin_mask", "ellipsis_mask", "end_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    attrs: dict[str, AttrValue] = {"Index": DType.INT32, "T": DType.INT32, **masks, "begin_mask": 1}
    front = editor.add(
        "StridedSlice", f"{name}/batch", (whole.value(), *ends), [TensorType(DType.INT32, Shape.of(count))], attrs
    )
    rest = editor.constant(f"{name}/outer", np.array(outer, np.int32))
    axis = editor.constant(f"{name}/axis", np.array(0, np.int32))
    joined: dict[str, AttrValue] = {"N": 2, "T": DType.INT32, "Tidx": DType.INT32}
    made = TensorType(DType.INT32, Shape.of(count + len(outer)))
    return editor.add("ConcatV2", name, (front.value(), rest, axis), [made], joined).value()


def _as_batch_matmul(editor: Editor, node: Node, found: Equation) -> str:
    """The batch in front and in one order, and then a matrix each."""
    left, right = found.operands
    batch, rest = found.result[:-2], found.result[-2:]
    for first, second, at in ((left, right, 0), (right, left, 1)):
        if first[: len(batch)] != batch or second[: len(batch)] != batch or len(rest) != 2:
            continue
        a, b = first[len(batch) :], second[len(batch) :]
        inner = set(a) & set(b)
        if len(a) != 2 or len(b) != 2 or len(inner) != 1 or rest != _outer(a, inner) + _outer(b, inner):
            continue
        adjoint = (a[0] in inner, b[1] in inner)
        inputs = (node.inputs[at], node.inputs[1 - at])
        attrs: dict[str, AttrValue] = {"T": node.outputs[0].dtype, "adj_x": adjoint[0], "adj_y": adjoint[1]}
        attrs |= {"grad_x": False, "grad_y": False}
        if batch:
            editor.update(replace(node, op="BatchMatMulV2", inputs=inputs, attrs=attrs))
            return "is a BatchMatMulV2"
        attrs = {**_MATMUL, "T": node.outputs[0].dtype, "transpose_a": adjoint[0], "transpose_b": adjoint[1]}
        editor.update(replace(node, op="MatMul", inputs=inputs, attrs=attrs))
        return "is a MatMul"
    return "left: would need transposes, which Einsum makes itself"


def _outer(labels: str, inner: set[str]) -> str:
    return "".join(label for label in labels if label not in inner)
