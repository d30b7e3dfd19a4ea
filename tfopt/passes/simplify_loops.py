"""Carry through a loop only what changes in it and what somebody reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor, reachable
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.loops.trips import trips
from tfopt.passes.loops.variables import Loop, replace_loop, rewrite_loops, with_arguments, with_outputs
from tfopt.passes.merge_duplicates import merge_duplicates

#: Ops that make of a variable's new value another one's, cheap enough to do once behind the loop.
_DRESSING = frozenset({"ExpandDims", "Reshape", "Squeeze"})


@graph_pass
def simplify_loops(graph: Graph) -> Graph | Outcome:
    """Remove variables of a While that no iteration changes, that repeat another, or that nobody reads.

        %out = While(%zero, %zero, %limit, %x)          %out = While(%zero, %x)
          cond: Less(%i, %limit)                  ->      cond: Less(%i, 32)
          body: %i + 1, %time + 1, %limit, f(%x)          body: %i + 1, f(%x)

    A constant that is handed through stands in the functions themselves; two variables that start equal and change
    in the same way are one; a variable that is made anew of another one's value is made once, behind the loop. A loop
    that never runs is what it starts with. Each variable costs TensorFlow four nodes an iteration.
    """
    dressed = rewrite_loops(graph, _dress_behind)
    outcome = rewrite_loops(dressed.graph, _simplify)
    return Outcome(outcome.graph, (*(finding for finding in dressed.findings if finding.done), *outcome.findings))


def _simplify(graph: Graph, editor: Editor, loop: Loop) -> Iterator[Finding]:
    counted = trips(graph, loop)
    if not isinstance(counted, str) and counted.count == 0:
        for index, value in enumerate(loop.node.inputs):
            editor.redirect(loop.node.value(index), value)
        yield Finding(loop.node.name, True, "a loop that never runs removed")
        return
    read = {index for index in range(loop.count) if graph.is_read(loop.node.value(index))}
    for index in sorted(read):
        if loop.is_invariant(index):
            editor.redirect(loop.node.value(index), loop.node.inputs[index])
            read.discard(index)
    twins = _twins(graph, loop)
    for index in read.intersection(twins):
        editor.redirect(loop.node.value(index), loop.node.value(twins[index]))
    slim = _with_constants(graph, _merged(loop, twins))
    kept = _needed(slim, {twins.get(index, index) for index in read})
    if len(kept) < loop.count:
        inputs = [slim.node.inputs[index] for index in kept]
        body = with_outputs(slim.body, [slim.body.outputs[index] for index in kept])
        cond = with_outputs(slim.cond, slim.cond.outputs)
        replace_loop(editor, loop, with_arguments(cond, kept), with_arguments(body, kept), inputs, kept)
        yield Finding(loop.node.name, True, f"has {loop.count} variables, {len(kept)} of them needed")


def _dress_behind(graph: Graph, editor: Editor, loop: Loop) -> Iterator[Finding]:
    """Make behind a loop that runs at least once what is another variable's last value, or that in another shape."""
    counted = trips(graph, loop)
    if isinstance(counted, str) or counted.count == 0:
        return
    for index in range(loop.count):
        if not graph.is_read(loop.node.value(index)) or loop.is_invariant(index):
            continue
        dressing, inner = _dressing(loop, loop.result(index))
        twin = next((i for i in range(loop.count) if loop.result(i) == inner), index)
        if twin == index or (dressing is None and twin > index):
            continue
        made = loop.node.value(twin)
        if dressing is not None:
            shape = loop.body.constant(dressing.inputs[1]) if len(dressing.inputs) > 1 else None
            others = [] if shape is None else [editor.constant(f"{dressing.name}/shape", shape.array, shape.dtype)]
            made = editor.add(dressing.op, dressing.name, (made, *others), dressing.outputs, dressing.attrs).value()
        editor.redirect(loop.node.value(index), made)
        yield Finding(loop.node.name, True, f"variable {index} made behind the loop, of variable {twin}")


def _dressing(loop: Loop, value: Value) -> tuple[Node | None, Value]:
    """An op in the body that only gives a shape to a value, and that value."""
    node = loop.body.producer(value)
    shaped = len(node.inputs) == 1 or (len(node.inputs) == 2 and loop.body.constant(node.inputs[1]) is not None)
    return (node, node.inputs[0]) if node.op in _DRESSING and shaped and not node.controls else (None, value)


def _with_constants(graph: Graph, loop: Loop) -> Loop:
    """The loop with a Const in its functions for each argument that is always that constant."""
    constants = {
        index: graph[value.node]
        for index, value in enumerate(loop.node.inputs)
        if loop.is_invariant(index) and graph.constant(value) is not None and value.node not in graph.targets
    }
    return replace(loop, cond=_filled_in(loop.cond, constants), body=_filled_in(loop.body, constants))


def _filled_in(function: Graph, constants: Mapping[int, Node]) -> Graph:
    editor = Editor(function)
    for index, node in constants.items():
        argument = Value(function.inputs[index])
        if argument in function.readers:
            editor.redirect(argument, editor.constant(argument.node, node.tensor.array, node.tensor.dtype))
    return editor.finish()


def _twins(graph: Graph, loop: Loop) -> Mapping[int, int]:
    """Variables and the first one that each equals: assumed of all that start equal, until the body says otherwise."""
    twins: dict[int, int] = {}
    for index, value in enumerate(loop.node.inputs):
        others = (other for other in range(index) if other not in twins)
        same = next((other for other in others if _starts_equal(graph, loop, other, index, value)), None)
        twins |= {index: same} if same is not None else {}
    while twins:
        body = merge_duplicates.run(_merged(loop, twins).body).graph
        held = {i: twin for i, twin in twins.items() if body.outputs[i] == body.outputs[twin]}
        if held == twins:
            break
        twins = held
    return twins


def _starts_equal(graph: Graph, loop: Loop, index: int, other: int, value: Value) -> bool:
    mine, body = loop.node.inputs[index], loop.body
    if body[body.inputs[index]].outputs != body[body.inputs[other]].outputs:
        return False
    left, right = graph.constant(mine), graph.constant(value)
    if left is None or right is None:
        return mine == value
    return left.type == right.type and left.array.tobytes() == right.array.tobytes()


def _merged(loop: Loop, twins: Mapping[int, int]) -> Loop:
    return replace(loop, cond=_with_one_for_two(loop.cond, twins), body=_with_one_for_two(loop.body, twins))


def _with_one_for_two(function: Graph, twins: Mapping[int, int]) -> Graph:
    editor = Editor(function)
    for index, twin in twins.items():
        argument = Value(function.inputs[index])
        if function.is_read(argument):
            editor.redirect(argument, Value(function.inputs[twin]))
    return editor.finish()


def _needed(loop: Loop, read: set[int]) -> list[int]:
    """The variables that decide about the loop or about what is read of it."""
    needed = read | _reads(loop.cond, loop.cond.outputs[0])
    while True:
        more = needed.union(*(_reads(loop.body, loop.body.outputs[index]) for index in needed))
        if more == needed:
            return sorted(needed)
        needed = more


def _reads(function: Graph, value: Value) -> set[int]:
    found = reachable(function, (value.node,))
    return {index for index, name in enumerate(function.inputs) if name in found}
