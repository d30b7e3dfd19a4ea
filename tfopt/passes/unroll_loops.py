"""Repeat a loop's body instead of going round, as far as that is faster."""

from __future__ import annotations

from collections.abc import Iterator

from tfopt.ir.bodies import has_bodies
from tfopt.ir.graph import Graph, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.loops.counting import strides
from tfopt.passes.loops.inline_body import Inlined
from tfopt.passes.loops.trips import Trips, trips
from tfopt.passes.loops.variables import Loop, rewrite_loops
from tfopt.passes.loops.wide import body_without, in_front, is_countable, wide_body

#: More would leave too many to the loop that does the rest.
_OPEN_STEPS = 8
#: Bytes of constants; iterations that multiply by so much take far longer than going round.
_HEAVY = 1 << 20


@graph_pass
def unroll_loops(graph: Graph, *, max_nodes: int = 256, body_nodes: int = 160) -> Graph | Outcome:
    """Unroll a While, the whole of it or several iterations at a time.

        %loop = While(%zero, %x)                        %a = Tanh(%x)
          cond: Less(%i, 2)                       ->    %b = Tanh(%a)
          body: %i + 1, Tanh(%x)

    A loop of known length that becomes at most `max_nodes` nodes disappears. A longer one does as many iterations each
    time it goes round as make a body of about `body_nodes` nodes, and those that are left over before it: to go round
    takes TensorFlow as long as some ten small ops, so that nothing more is gained behind that. A loop that counts up
    to a limit that only the caller knows does so too, and the rest as before. Loops with a loop or a branch in them are
    left.
    """

    def rewrite(graph: Graph, editor: Editor, loop: Loop) -> Iterator[Finding]:
        if any(has_bodies(node) for node in loop.body):
            yield Finding(loop.node.name, False, "has a loop or a branch in it")
            return
        counted, size = trips(graph, loop), _size(loop)
        if isinstance(counted, str):
            yield _unrolled_as_far_as_it_goes(graph, editor, loop, counted, body_nodes // size)
        elif counted.count * size <= max_nodes:
            for index, value in enumerate(_repeated(editor, loop, counted, counted.count)):
                editor.redirect(loop.node.value(index), value)
            yield Finding(loop.node.name, True, f"unrolled, {counted.count} iterations of {size} ops")
        elif (steps := _steps(loop, counted.count, body_nodes // size)) == 0:
            yield Finding(loop.node.name, False, f"an iteration is {size} ops, {counted.count} would be too many")
        else:
            inputs = _repeated(editor, loop, counted, counted.count % steps)
            wide = wide_body(loop, strides(graph, loop), steps)
            editor.update(loop.node.with_attrs(body=wide).with_inputs(*inputs))
            yield Finding(loop.node.name, True, f"goes round once for {steps} of its {counted.count} iterations")

    return rewrite_loops(graph, rewrite)


def _unrolled_as_far_as_it_goes(graph: Graph, editor: Editor, loop: Loop, unknown: str, most: int) -> Finding:
    """Put a loop of several iterations in front of one whose length is unknown."""
    steps = min(most, _OPEN_STEPS)
    if steps <= 2 or _is_heavy(loop) or _carries_list(loop) or not is_countable(graph, loop):
        return Finding(loop.node.name, False, unknown)
    wide = in_front(graph, editor, loop, steps)
    editor.update(loop.node.with_inputs(*(wide.value(index) for index in range(loop.count))))
    return Finding(loop.node.name, True, f"goes round once for {steps} iterations, and once for each of the rest")


def _size(loop: Loop) -> int:
    """How many ops an iteration is. None of them costs nothing, as a Const does."""
    return max(1, sum(node.op not in ("Const", "Placeholder") for node in loop.body))


def _steps(loop: Loop, count: int, most: int) -> int:
    """How many iterations to do in one: more than half of `most`, such that few are left over. 0 where it would be two
    at most: that gains little, and what is unrolled already would be unrolled again."""
    steps = min(range(most, most // 2, -1), key=lambda steps: count % steps) if most > 2 else 0
    return 0 if steps and count % steps and _is_heavy(loop) else steps


def _carries_list(loop: Loop) -> bool:
    """Two loops that share a list would hide where it comes from."""
    return any(out.dtype is DType.VARIANT for out in loop.node.outputs)


def _is_heavy(loop: Loop) -> bool:
    """Does its body hold weights that had better not be written a second time, outside of it? A tensor that it writes
    rows of is copied each time it goes round, which takes longer than they do."""
    weights = sum(node.tensor.nbytes for node in loop.body.by_op.get("Const", ()))
    return weights > _HEAVY and "TensorScatterUpdate" not in loop.body.by_op


def _repeated(editor: Editor, loop: Loop, counted: Trips, times: int) -> list[Value]:
    """The variables after that many iterations from the start."""
    body, others = body_without(loop, counted.counters)
    inlined = Inlined(editor, body)
    values = list(loop.node.inputs)
    for number in range(times):
        for index, value in zip(others, inlined.call(values), strict=True):
            values[index] = value
        for index, seen in counted.counters.items():
            if number + 1 == times or body.is_read(loop.argument(index)):
                tensor = seen[number + 1]
                made = editor.add(
                    "Const", loop.body.inputs[index], (), [tensor.type], {"value": tensor, "dtype": tensor.dtype}
                )
                values[index] = made.value()
    return values
