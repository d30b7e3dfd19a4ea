"""Merge linear layers of one tensor whose results are split into heads: query, key and value of attention."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Shape, Tensor, TensorType, numpy_dtype
from tfopt.passes.base import Finding, Outcome
from tfopt.passes.channelwise.biased import Biased, biased
from tfopt.passes.channelwise.folding import NewWeights
from tfopt.passes.layout.permuting import Perm
from tfopt.passes.layout.regions import transpose_perm


@dataclass(frozen=True, slots=True)
class _Heads:
    """`transpose` of `reshape` of a layer with its bias. The last `tail` dims of the Reshape are the layer's channels,
    those before them its rows."""

    made: Biased
    reshape: Node
    transpose: Node
    tail: tuple[int, ...]
    perm: Perm

    @property
    def rows_rank(self) -> int:
        return len(self.perm) - len(self.tail)


def merge_heads(graph: Graph) -> Outcome:
    """Layers of one tensor, reshaped and transposed alike, as one layer, one Reshape, one Transpose and an Unpack."""
    editor = Editor(graph)
    sizes, weights = KnownSizes(graph), NewWeights(graph, editor)
    findings = []
    for group in _groups(graph, sizes):
        if len(group) > 1 and (shape := _shape(graph, editor, sizes, group)) is not None:
            _merge(editor, weights, group, shape)
            names = ", ".join(heads.made.layer.node.name for heads in group)
            findings += [Finding(heads.transpose.name, True, f"one of the heads of {names}, merged") for heads in group]
    return Outcome(editor.finish(), tuple(findings))


def _groups(graph: Graph, sizes: KnownSizes) -> list[list[_Heads]]:
    found: dict[Hashable, list[_Heads]] = {}
    for node in graph.by_op.get("Transpose", ()):
        heads = _heads(graph, sizes, node)
        if heads is not None:
            layer = heads.made.layer
            attrs = tuple(sorted(layer.node.attrs.items(), key=lambda item: item[0]))
            wanted = sizes.contents(heads.reshape.inputs[1])
            alike = layer.data_value, attrs, layer.weight.type, wanted, heads.tail, heads.perm
            found.setdefault(alike, []).append(heads)
    return list(found.values())


def _heads(graph: Graph, sizes: KnownSizes, transpose: Node) -> _Heads | None:
    perm, reshape = transpose_perm(sizes, transpose), graph.producer(transpose.inputs[0])
    if perm is None or reshape.op != "Reshape" or transpose.controls or reshape.controls:
        return None
    if not graph.is_read(transpose.value()) or not graph.is_private(reshape.value()):
        return None
    made = biased(graph, reshape.inputs[0]) if graph.is_private(reshape.inputs[0]) else ""
    if isinstance(made, str) or made.layer.node.op != "MatMul" or not graph.is_private(made.layer.node.value()):
        return None
    tail = _tail(reshape.outputs[0].shape, made.layer.channels)
    if tail is None or sizes.contents(reshape.inputs[1]) is None:
        return None
    return _Heads(made, reshape, transpose, tail, perm)


def _tail(shape: Shape, channels: int) -> tuple[int, ...] | None:
    """The last dims, which together are the channels."""
    dims, count = shape.dims or (), 1
    for at in range(len(dims) - 1, 0, -1):
        dim = dims[at]
        if not dim:
            return None
        count *= dim
        if count == channels:
            return tuple(d for d in dims[at:] if d is not None)
    return None


def _shape(graph: Graph, editor: Editor, sizes: KnownSizes, group: Sequence[_Heads]) -> Value | None:
    """What the merged rows are reshaped to: [*rows, len(group), *tail]. None when that would take more than a node."""
    first = group[0]
    asked, name = first.reshape.inputs[1], f"{first.reshape.name}/heads"
    dtype = graph.type_of(asked).dtype
    rows, known = first.rows_rank, sizes.constant(asked)
    if known is not None:
        return editor.constant(name, np.array([*known[:rows], len(group), *first.tail], numpy_dtype(dtype)))
    packed = graph.producer(asked)
    if packed.op != "Pack" or packed.controls or len(packed.inputs) != len(first.perm):
        return None
    channels = [
        editor.constant(f"{name}/{number}", np.array(size, numpy_dtype(dtype)))
        for number, size in enumerate((len(group), *first.tail))
    ]
    items = (*packed.inputs[:rows], *channels)
    made = TensorType(dtype, Shape((len(items),)))
    return editor.add("Pack", name, items, [made], {"T": dtype, "N": len(items), "axis": 0}).value()


def _merge(editor: Editor, weights: NewWeights, group: Sequence[_Heads], shape: Value) -> None:
    rows = _rows(editor, weights, group)
    first, count = group[0], len(group)
    dtype, at = first.reshape.outputs[0].dtype, first.rows_rank
    dims = first.reshape.outputs[0].shape.dims or ()
    name = first.transpose.name
    split = TensorType(dtype, Shape((*dims[:at], count, *dims[at:])))
    attrs = {"T": dtype, "Tshape": first.reshape.attrs["Tshape"]}
    reshape = editor.add("Reshape", f"{first.reshape.name}/merged", (rows, shape), [split], attrs)
    perm = (at, *(axis if axis < at else axis + 1 for axis in first.perm))
    axes = editor.constant(f"{name}/heads", np.array(perm, np.int32))
    heads = first.transpose.outputs[0]
    stacked = TensorType(dtype, Shape((count, *(heads.shape.dims or ()))))
    transposed = editor.add(
        "Transpose", f"{name}/merged", (reshape.value(), axes), [stacked], {"T": dtype, "Tperm": DType.INT32}
    )
    # Along the first axis nothing is copied: each output is a piece of the memory.
    parts = editor.add(
        "Unpack", f"{name}/parts", [transposed.value()], [heads] * count, {"T": dtype, "num": count, "axis": 0}
    )
    for port, part in enumerate(group):
        editor.redirect(part.transpose.value(), parts.value(port))


def _rows(editor: Editor, weights: NewWeights, group: Sequence[_Heads]) -> Value:
    """All layers in one, their channels side by side: [rows, len(group) * channels]."""
    layers = [heads.made.layer for heads in group]
    first = layers[0]
    node, dtype = first.node, first.weight.dtype
    array = np.concatenate([layer.weight.array for layer in layers], first.out_axes[0])
    dims = node.outputs[0].shape.dims or (None, None)
    made = editor.add(
        node.op,
        f"{node.name}/merged",
        (first.data_value, editor.constant(f"{node.name}/weight", array, dtype)),
        [TensorType(node.outputs[0].dtype, Shape((dims[0], array.shape[first.out_axes[0]])))],
        node.attrs,
    )
    merged = replace(first, node=made, weight=Tensor(array, dtype))
    return weights.add_bias(merged, np.concatenate([heads.made.bias for heads in group]))
