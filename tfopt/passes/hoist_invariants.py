"""Compute once, before a loop, what every iteration would compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfopt.ir.facts import BINARY, IDENTITIES, UNARY, is_pure
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.loops.hoist_rows import hoist_rows
from tfopt.passes.loops.trips import trips
from tfopt.passes.loops.variables import Loop, replace_loop, rewrite_loops, with_invariants


@graph_pass
def hoist_invariants(graph: Graph, *, max_bytes: int = 16_000_000) -> Graph | Outcome:
    """Move out of a While what does not change in it, and what it does to each row of a tensor.

        %loop = While(%zero, %x, %w)                    %wx = MatMul(%x, %w)
          %row = GatherV2(%x, %i, 0)              ->    %loop = While(%zero, %wx)
          %y = MatMul(%row, %w)                           %y = GatherV2(%wx, %i, 0)

    The input's projection in a recurrent layer is such a product: one large MatMul takes less time than many small
    ones. It is done where the loop reads every row, and where the product of one example takes at most `max_bytes`;
    biases and elementwise functions go along. A bias that is added to the sum of such a product and of something that
    changes is added to the product instead. What may fail stays in a loop that may not run at all.
    """
    moved = rewrite_loops(graph, _hoist)

    def rows(graph: Graph, editor: Editor, loop: Loop) -> Iterator[Finding]:
        return hoist_rows(graph, editor, loop, max_bytes)

    outcome = rewrite_loops(moved.graph, rows)
    # A loop that must be left alone is left twice, for one reason.
    return Outcome(outcome.graph, tuple(dict.fromkeys((*moved.findings, *outcome.findings))))


def _hoist(graph: Graph, editor: Editor, loop: Loop) -> Iterator[Finding]:
    counted = trips(graph, loop)
    is_run = not isinstance(counted, str) and counted.count > 0
    fixed = _invariant_nodes(loop, is_run)
    for node in _kept_back(loop, fixed):
        yield Finding(loop.node.name, False, f"{node.op} {node.name} may fail, and the loop may not run at all")
    moved = [value for value in _read_by_others(loop.body, fixed) if _is_tensor(loop.body, value)]
    if not moved:
        return
    outside = _outside(editor, loop, fixed)
    wider = with_invariants(loop, [loop.body.type_of(value) for value in moved])
    body = Editor(wider.body)
    for place, value in enumerate(moved, loop.count):
        body.redirect(value, wider.argument(place))
    inputs = [*loop.node.inputs, *(outside[value] for value in moved)]
    kept = [*range(loop.count), *(None for _ in moved)]
    replace_loop(editor, loop, wider.cond, body.finish(), inputs, kept)
    for value in moved:
        yield Finding(loop.node.name, True, f"{loop.body.producer(value).op} {value.node} moved out")


def _invariant_nodes(loop: Loop, is_run: bool) -> dict[str, Node]:
    """The nodes of the body that make the same in every iteration, by name, arguments and constants aside."""
    fixed = {loop.body.inputs[index] for index in range(loop.count) if loop.is_invariant(index)}
    found: dict[str, Node] = {}
    for node in loop.body:
        if node.op == "Const":
            fixed.add(node.name)
        elif _is_movable(loop.body, node, is_run) and all(value.node in fixed for value in node.inputs):
            fixed.add(node.name)
            found[node.name] = node
    return found


def _kept_back(loop: Loop, moved: Mapping[str, Node]) -> list[Node]:
    """The first of those that would be moved if the loop were known to run."""
    others = {name: node for name, node in _invariant_nodes(loop, is_run=True).items() if name not in moved}
    return [node for node in others.values() if not any(value.node in others for value in node.inputs)]


def _is_movable(body: Graph, node: Node, is_run: bool) -> bool:
    return bool(node.inputs) and is_pure(node) and not node.controls and (is_run or cannot_fail(body, node))


def _read_by_others(body: Graph, fixed: Mapping[str, Node]) -> list[Value]:
    """The values of these nodes that something else reads."""
    read = [value for node in body if node.name not in fixed for value in node.inputs if value.node in fixed]
    read += [value for value in body.outputs if value.node in fixed]
    return list(dict.fromkeys(read))


def _is_tensor(body: Graph, value: Value) -> bool:
    return body.type_of(value).dtype not in (DType.VARIANT, DType.RESOURCE)


def _outside(editor: Editor, loop: Loop, fixed: Mapping[str, Node]) -> dict[Value, Value]:
    """The invariant nodes once more, in the graph around the loop: what each of their values is there."""
    known = {loop.argument(index): value for index, value in enumerate(loop.node.inputs)}
    for node in loop.body:
        if node.op == "Const" and any(reader.name in fixed for reader in loop.body.readers.get(node.value(), ())):
            known[node.value()] = editor.add("Const", node.name, (), node.outputs, node.attrs).value()
        elif node.name in fixed:
            made = editor.add(node.op, node.name, [known[value] for value in node.inputs], node.outputs, node.attrs)
            known.update((node.value(port), made.value(port)) for port in range(len(node.outputs)))
    return known


_TOTAL = UNARY | IDENTITIES | {"Cast", "Shape", "Size", "Rank", "ZerosLike", "OnesLike"}
_DIVISIONS = frozenset({"Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod", "Pow"})


def cannot_fail(graph: Graph, node: Node) -> bool:
    """Does the op make something of whatever its inputs' types admit?"""
    if node.op in _TOTAL:
        return True
    shapes = [graph.type_of(value).shape for value in node.inputs]
    if node.op in BINARY and node.op not in _DIVISIONS:
        return any(shape.rank == 0 for shape in shapes) or (shapes[0] == shapes[1] and shapes[0].is_static)
    return False
