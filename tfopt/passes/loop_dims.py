"""Runtime sizes inside of a loop, in terms of the graph around it."""

from __future__ import annotations

from tfopt.ir.dims import DimensionsOf, Dims
from tfopt.ir.graph import Graph
from tfopt.passes.loops import Loop


def dims_in_body(graph: Graph, loop: Loop, outside: DimensionsOf) -> DimensionsOf:
    """The dims of the body's values. A variable's are those it starts with, as far as every iteration keeps them."""
    held = [outside(value) for value in loop.node.inputs]
    while True:
        inside = DimensionsOf(loop.body, dict(zip(loop.body.inputs, held, strict=True)))
        made = [_both(held[index], inside(loop.body.outputs[index])) for index in range(loop.count)]
        if made == held:
            return inside
        held = made


def _both(before: Dims | None, after: Dims | None) -> Dims | None:
    if before is None or after is None or len(before) != len(after):
        return None
    return tuple(dim if dim == other else None for dim, other in zip(before, after, strict=True))
