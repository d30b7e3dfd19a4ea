"""Where a loop reads rows of a tensor, and whether it comes by all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.passes.loops.counting import limits, strides
from tfopt.passes.loops.trips import trips
from tfopt.passes.loops.variables import Loop


@dataclass(frozen=True)
class RowRead:
    """`node` in the body takes one row of the tensor `source`, which stands outside of the loop."""

    node: Node
    source: Value


def row_reads(graph: Graph, loop: Loop) -> Iterator[RowRead]:
    """Every GatherV2 of one row, along axis 0, of a tensor of rank 3 that no iteration changes."""
    for node in loop.body.by_op.get("GatherV2", ()):
        if node.inputs[0].node not in loop.body.inputs or not is_of_one_row(loop.body, node):
            continue
        index = loop.body.inputs.index(node.inputs[0].node)
        source = loop.node.inputs[index]
        if loop.is_invariant(index) and graph.type_of(source).shape.rank == 3:
            yield RowRead(node, source)


def is_of_one_row(graph: Graph, node: Node) -> bool:
    axis = graph.constant(node.inputs[2])
    along_rows = axis is not None and not axis.array.any() and not node.attrs.get("batch_dims")
    return along_rows and graph.type_of(node.inputs[1]).shape.rank == 0


def reads_every_row(graph: Graph, loop: Loop, read: RowRead) -> str | None:
    """None when as many rows are read as there are, else what is known instead."""
    counted = trips(graph, loop)
    sizes = KnownSizes(graph)
    rows = (sizes.dims(read.source) or (None,))[0]
    if isinstance(counted, str):
        ends = [sizes.contents(limit) for limit in _limits(graph, loop, read.node.inputs[1])]
        return None if rows is not None and (rows,) in ends else counted
    if rows is None or rows.number is None or rows.number > counted.count:
        return f"the loop reads {counted.count} rows of {rows.number if rows and rows.number else 'an unknown number'}"
    return None


def _limits(graph: Graph, loop: Loop, counter: Value) -> Iterator[Value]:
    """Values outside of the loop up to which a variable counts, in ones and from zero."""
    counted = strides(graph, loop)
    for limit in limits(loop):
        if limit is None or loop.argument(limit[0]) != counter or limit[0] not in counted:
            continue
        start, last = graph.constant(loop.node.inputs[limit[0]]), limit[1].inputs[1].node
        if start is not None and start.array == 0 and counted[limit[0]].array == 1 and last in loop.cond.inputs:
            yield loop.node.inputs[loop.cond.inputs.index(last)]
