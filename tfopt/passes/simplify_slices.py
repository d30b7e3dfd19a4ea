"""Slices in the simplest form that takes the same."""

from __future__ import annotations

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.passes.base import Outcome, graph_pass
from tfopt.passes.bypass import Bypass
from tfopt.passes.layout.slicing import Slicing, Span, composed, masks, slicing


@graph_pass
def simplify_slices(graph: Graph) -> Graph | Outcome:
    """Write new axes as ExpandDims, drop slices that take everything, make one slice of two.

        %y = StridedSlice(%x)  # x[:, None, 2:]       %s = StridedSlice(%x)  # x[:, 2:]
                                               ->     %y = ExpandDims(%s, 1)

    TensorFlow Lite's converter has no StridedSlice with new axes. What is computed when the model runs, such as
    `x[:n]`, is left alone, and so are steps other than one in a slice of a slice.
    """
    bypass = Bypass(graph)
    for node in graph.by_op.get("StridedSlice", ()):
        if not graph.is_read(node.value()):
            continue
        found = slicing(bypass.sizes, node)
        if isinstance(found, str):
            bypass.leave(node, found)
        elif found.new:
            _expand(bypass, node, found)
        elif found.is_whole(graph.type_of(node.inputs[0]).shape):
            bypass.hand_on(node, 0, node.inputs[0], "takes everything")
        else:
            _join(bypass, node, found)
    return bypass.outcome()


def _expand(bypass: Bypass, node: Node, found: Slicing) -> None:
    """The slice without its new axes, then one ExpandDims for each; the last has the node's name."""
    graph, source = bypass.graph, node.inputs[0]
    made = _without(node.outputs[0], found.new)
    if not found.is_whole(graph.type_of(source).shape):
        inputs, attrs = _sliced(bypass, node, source, found.spans)
        source = bypass.editor.add("StridedSlice", f"{node.name}/slice", inputs, [made], attrs, node.controls).value()
    for number, place in enumerate(found.new):
        last = number == len(found.new) - 1
        axis = bypass.editor.constant(f"{node.name}/axis", np.array(place, np.int32))
        attrs = {"T": made.dtype, "Tdim": DType.INT32}
        made = node.outputs[0] if last else _with(made, place)
        if last:
            new = Node(node.name, "ExpandDims", (source, axis), attrs, (made,), node.controls)
            bypass.update(new, f"new axes are ExpandDims, at {', '.join(map(str, found.new))}")
        else:
            name = f"{node.name}/expand"
            source = bypass.editor.add("ExpandDims", name, (source, axis), [made], attrs, node.controls).value()


def _without(made: TensorType, places: tuple[int, ...]) -> TensorType:
    dims = made.shape.dims
    kept = None if dims is None else tuple(dim for axis, dim in enumerate(dims) if axis not in places)
    return TensorType(made.dtype, Shape(kept))


def _with(made: TensorType, place: int) -> TensorType:
    dims = made.shape.dims
    return TensorType(made.dtype, Shape(None if dims is None else (*dims[:place], 1, *dims[place:])))


def _sliced(
    bypass: Bypass, node: Node, source: Value, spans: tuple[Span, ...]
) -> tuple[tuple[Value, ...], dict[str, AttrValue]]:
    """The inputs and attributes of a StridedSlice of `source` that takes these spans."""
    index = bypass.graph.type_of(node.inputs[1]).dtype
    places = {
        "begin": [span.start or 0 for span in spans],
        "end": [(span.start or 0) + 1 if span.shrink else span.stop or 0 for span in spans],
        "strides": [span.step for span in spans],
    }
    constants = [bypass.new_constant(f"{node.name}/{name}", items, index) for name, items in places.items()]
    return (source, *constants), {"T": node.outputs[0].dtype, "Index": index, **masks(spans)}


def _join(bypass: Bypass, node: Node, found: Slicing) -> None:
    graph, inner = bypass.graph, bypass.producer(node.inputs[0])
    if inner.op != "StridedSlice" or inner.controls:
        return
    first = slicing(bypass.sizes, inner)
    shapes = graph.type_of(inner.inputs[0]).shape, inner.outputs[0].shape
    spans = None if isinstance(first, str) else composed(first, found, *shapes)
    if spans is None:
        bypass.leave(node, f"slices {inner.name}, a slice that it cannot be joined with")
        return
    inputs, attrs = _sliced(bypass, node, inner.inputs[0], spans)
    joined = Node(node.name, "StridedSlice", inputs, attrs, node.outputs, node.controls)
    bypass.update(joined, f"takes from {inner.inputs[0]} what it took of {inner.name}")
