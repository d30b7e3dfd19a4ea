"""Variables of a loop that count, and how far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import Tensor
from tfopt.passes.loops.variables import Loop, behind_identities


def strides(graph: Graph, loop: Loop) -> Mapping[int, Tensor]:
    """The variables that start with a constant number and grow by the same one in each iteration, with the latter."""
    found = {}
    for index, start in enumerate(loop.node.inputs):
        stride = _stride(loop, index) if _is_number(graph.constant(start)) else None
        if stride is not None and start.node not in graph.targets:
            found[index] = stride
    return found


def _stride(loop: Loop, index: int) -> Tensor | None:
    step = loop.body.producer(loop.result(index))
    if step.op not in ("Add", "AddV2") or loop.argument(index) not in step.inputs or step.controls:
        return None
    others = [loop.body.constant(value) for value in step.inputs if value != loop.argument(index)]
    stride = others[0] if others else None
    return stride if stride is not None and _is_number(stride) and stride.array > 0 else None


def _is_number(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.array.shape == () and tensor.array.dtype.kind == "i"


def multiple(stride: Tensor, times: int) -> Tensor:
    """How much a counter grows in that many iterations."""
    return Tensor(stride.array * np.array(times, stride.array.dtype), stride.dtype)


def limits(loop: Loop) -> Iterator[tuple[int, Node] | None]:
    """What must hold for the loop to go on: for each `Less(variable, limit)` with a limit that stays, which variable
    it is; None for any other condition."""
    for node in _conjuncts(loop.cond, loop.cond.outputs[0]):
        inputs = loop.cond.inputs
        if node.op != "Less" or node.controls or node.inputs[0].node not in inputs:
            yield None
            continue
        limit = node.inputs[1].node
        stays = loop.cond[limit].op == "Const" or (limit in inputs and loop.is_invariant(inputs.index(limit)))
        yield (inputs.index(node.inputs[0].node), node) if stays else None


def _conjuncts(cond: Graph, value: Value) -> Iterator[Node]:
    node = cond.producer(behind_identities(cond, value))
    if node.op == "LogicalAnd" and not node.controls:
        for item in dict.fromkeys(node.inputs):
            yield from _conjuncts(cond, item)
    else:
        yield node
