"""Repeat a loop's body instead of going round, as far as that is faster."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from tfopt.ir.bodies import has_bodies
from tfopt.ir.graph import AttrValue, Graph, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.inline_body import Inlined
from tfopt.passes.loops import Loop, rewrite_loops, with_outputs
from tfopt.passes.trips import Trips, trips


@graph_pass
def unroll_loops(graph: Graph, *, max_nodes: int = 256, body_nodes: int = 128) -> Graph | Outcome:
    """Unroll a While whose number of iterations is known.

        %loop = While(%zero, %x)                        %a = Tanh(%x)
          cond: Less(%i, 2)                       ->    %b = Tanh(%a)
          body: %i + 1, Tanh(%x)

    A loop that becomes at most `max_nodes` nodes disappears. A longer one runs in steps of as many iterations as make
    a body of about `body_nodes` nodes, and what is left over runs before it: to go round takes TensorFlow as long as
    some ten small ops, so that nothing is gained any more behind that. Loops with a loop or a branch in them are left.
    """

    def rewrite(graph: Graph, editor: Editor, loop: Loop) -> Iterator[Finding]:
        counted = trips(graph, loop)
        if isinstance(counted, str):
            yield Finding(loop.node.name, False, counted)
            return
        if any(has_bodies(node) for node in loop.body):
            yield Finding(loop.node.name, False, "has a loop or a branch in it")
            return
        size = _size(loop)
        if counted.count * size <= max_nodes:
            _unroll(editor, loop, counted)
            yield Finding(loop.node.name, True, f"unrolled, {counted.count} iterations of {size} ops")
            return
        steps = _steps(counted.count, body_nodes // size)
        if steps == 0:
            yield Finding(loop.node.name, False, f"an iteration is {size} ops, {counted.count} would be too many")
            return
        _widen(editor, loop, counted, steps)
        yield Finding(loop.node.name, True, f"goes round once for {steps} of its {counted.count} iterations")

    return rewrite_loops(graph, rewrite)


def _size(loop: Loop) -> int:
    """How many ops an iteration is. None of them costs nothing, as a Const does."""
    return max(1, sum(node.op not in ("Const", "Placeholder") for node in loop.body))


def _steps(count: int, most: int) -> int:
    """How many iterations to do in one: more than half of `most`, such that few are left over. 0 where it would be two
    at most: that gains little, and what is unrolled already would be unrolled again."""
    return min(range(most, most // 2, -1), key=lambda steps: count % steps) if most > 2 else 0


def _unroll(editor: Editor, loop: Loop, counted: Trips) -> None:
    values = _repeated(editor, loop, counted, counted.count)
    for index, value in enumerate(values):
        editor.redirect(loop.node.value(index), value)


def _repeated(editor: Editor, loop: Loop, counted: Trips, times: int) -> list[Value]:
    """The variables after that many iterations from the start."""
    body, others = _without(loop, counted.counters)
    inlined = Inlined(editor, body)
    values = list(loop.node.inputs)
    for number in range(times):
        for index, value in zip(others, inlined.call(values), strict=True):
            values[index] = value
        for index, seen in counted.counters.items():
            tensor = seen[number + 1]
            counter = editor.add("Const", loop.body.inputs[index], (), [tensor.type], _const(tensor))
            values[index] = counter.value()
    return values


def _without(loop: Loop, counters: Collection[int]) -> tuple[Graph, list[int]]:
    """The body without what only these variables need of it, and which variables it still makes."""
    others = [index for index in range(loop.count) if index not in counters]
    return with_outputs(loop.body, [loop.body.outputs[index] for index in others]), others


def _const(tensor: Tensor) -> dict[str, AttrValue]:
    return {"value": tensor, "dtype": tensor.dtype}


def _widen(editor: Editor, loop: Loop, counted: Trips, steps: int) -> None:
    """Let the loop do `steps` iterations in one, those that are left over before it."""
    inputs = _repeated(editor, loop, counted, counted.count % steps)
    strides = _strides(counted)
    once, others = _without(loop, strides)
    body = Editor(loop.body)
    inlined = Inlined(body, once)
    values = list(loop.body.outputs)
    for number in range(1, steps + 1):
        for index, stride in strides.items():
            values[index] = _ahead(body, loop, index, stride, number)
        if number < steps:
            for index, value in zip(others, inlined.call(values), strict=True):
                values[index] = value
    wide = with_outputs(body.finish(), values)
    editor.update(replace(loop.node, inputs=tuple(inputs), attrs={**loop.node.attrs, "body": wide}))


def _strides(counted: Trips) -> Mapping[int, Tensor]:
    """By how much a variable that only counts grows in each iteration."""
    found = {}
    for index, seen in counted.counters.items():
        numbers = [tensor.array for tensor in seen]
        if numbers[0].shape == () and numbers[0].dtype.kind == "i":
            steps = {int(after) - int(before) for before, after in pairwise(numbers)}
            if len(steps) == 1:
                found[index] = Tensor(np.array(steps.pop(), numbers[0].dtype))
    return found


def _ahead(body: Editor, loop: Loop, index: int, stride: Tensor, number: int) -> Value:
    """A counter some iterations on, from the argument rather than from the iteration before."""
    name = loop.body.inputs[index]
    by = body.constant(f"{name}/by", stride.array * np.array(number, stride.array.dtype))
    return body.add("AddV2", f"{name}/ahead", (loop.argument(index), by), [stride.type], {"T": stride.dtype}).value()
