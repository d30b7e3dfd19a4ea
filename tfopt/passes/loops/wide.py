"""A loop that does several iterations each time it goes round."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.loops.counting import limits, multiple, strides
from tfopt.passes.loops.inline_body import Inlined
from tfopt.passes.loops.variables import Loop, with_outputs


def wide_body(loop: Loop, counters: Mapping[int, Tensor], steps: int) -> Graph:
    """The body `steps` times. Counters are counted from the argument on, rather than one iteration after the other."""
    once, others = body_without(loop, counters)
    body = Editor(loop.body)
    inlined = Inlined(body, once)
    values = list(loop.body.outputs)
    for number in range(1, steps + 1):
        for index, stride in counters.items():
            values[index] = _ahead(body, loop.argument(index), multiple(stride, number))
        if number < steps:
            for index, value in zip(others, inlined.call(values), strict=True):
                values[index] = value
    return with_outputs(body.finish(), values)


def body_without(loop: Loop, variables: Collection[int]) -> tuple[Graph, list[int]]:
    """The body without what only these variables need of it, and which variables it still makes."""
    others = [index for index in range(loop.count) if index not in variables]
    return with_outputs(loop.body, [loop.body.outputs[index] for index in others]), others


def _ahead(function: Editor, counter: Value, by: Tensor) -> Value:
    number = function.constant(f"{counter.node}/by", by.array, by.dtype)
    made = function.add("AddV2", f"{counter.node}/ahead", (counter, number), [by.type], {"T": by.dtype})
    return made.value()


def is_countable(graph: Graph, loop: Loop) -> bool:
    """Does it go on as long as variables that count in equal steps are below limits that stay? Whether it goes on for
    some iterations more can then be told before they are done."""
    counters = strides(graph, loop)
    return all(limit is not None and limit[0] in counters for limit in limits(loop))


def in_front(graph: Graph, editor: Editor, loop: Loop, steps: int) -> Node:
    """Add a loop that does `steps` iterations at a time, as long as there are that many left. It is for the caller to
    let `loop` do the rest."""
    counters = strides(graph, loop)
    cond = Editor(loop.cond)
    for limit in limits(loop):
        assert limit is not None
        index, less = limit
        last = _ahead(cond, less.inputs[0], multiple(counters[index], steps - 1))
        cond.update(replace(less, inputs=(last, less.inputs[1])))
    functions = {"cond": cond.finish(), "body": wide_body(loop, counters, steps)}
    node = loop.node
    return editor.add(node.op, node.name, node.inputs, node.outputs, {**node.attrs, **functions})
