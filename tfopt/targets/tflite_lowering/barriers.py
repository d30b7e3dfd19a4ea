"""Keep TensorFlow's TFLite converter from quantizing what has no grid.

The converter carries scales on by itself. Through ops that join tensors it gives the scale of one to all of them, which
cuts off what is beyond. It quantizes Softmax, Sigmoid and Tanh, whose range it knows, to steps of 1 / 256 or 1 / 128,
and takes these to what they are joined with. A product of the negated value and -1, which is the value itself, has no
scale that it knows, and nothing of it folds that.
"""

from __future__ import annotations

import numpy as np

from tfopt.ir import DType, Graph, Node, Value
from tfopt.ir.rewrite import Editor

_JOINS = frozenset({"Concat", "ConcatV2", "Pack", "Maximum", "Minimum", "Select", "SelectV2"})
_BOUNDED = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "Tanh"})
#: The scale of what these read is the scale of what they give.
_MOVES = frozenset(
    {
        *("Identity", "Reshape", "Squeeze", "ExpandDims", "Transpose", "Pad", "PadV2", "MaxPool", "AvgPool", "Slice"),
        *("StridedSlice", "Gather", "GatherV2", "ResizeNearestNeighbor", "SpaceToDepth", "DepthToSpace", "Tile"),
    }
)


def with_barriers(graph: Graph) -> Graph:
    if not graph.grids:
        return graph
    editor = Editor(graph)
    made: dict[Value, Value] = {}
    for node in graph.nodes:
        stopped = _stopped(graph, node)
        for value in stopped - made.keys():
            made[value] = _barrier(editor, value)
        if stopped:
            editor.update(node.with_inputs(*(made[v] if v in stopped else v for v in node.inputs)))
    return editor.finish()


def is_scaled(graph: Graph, value: Value) -> bool:
    """Has it a grid, or does the converter take it for something that has?"""
    while value not in graph.grids and graph.producer(value).op in _MOVES:
        value = graph.producer(value).inputs[0]
    return (value in graph.grids and graph.constant(value) is None) or graph.producer(value).op in _BOUNDED


def _stopped(graph: Graph, node: Node) -> set[Value]:
    """What the node must read from behind a barrier."""
    read = {v for v in node.inputs if graph.type_of(v).dtype is DType.FLOAT32 and graph.constant(v) is None}
    if node.op in _BOUNDED and node.value() not in graph.grids:
        return {value for value in read if is_scaled(graph, value)}
    # Where all lie on grids every input gets the one of the result.
    if node.op in _JOINS and not read | {node.value()} <= graph.grids.keys():
        return read
    return set()


def _barrier(editor: Editor, value: Value) -> Value:
    made = [editor.graph.type_of(value)]
    name = f"{value.node}/barrier_{value.port}" if value.port else f"{value.node}/barrier"
    negative = editor.add("Neg", f"{name}/negative", [value], made, {"T": DType.FLOAT32}).value()
    minus_one = editor.constant(f"{name}/minus_one", np.float32(-1))
    return editor.add("Mul", name, [negative, minus_one], made, {"T": DType.FLOAT32}).value()
