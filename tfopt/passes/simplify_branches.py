"""Choose now what is always chosen, and let branches take and return no more than is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfopt.ir.bodies import BRANCHES, bodies, map_bodies
from tfopt.ir.facts import is_pure
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Tensor
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.loops.inline_body import Inlined
from tfopt.passes.loops.variables import renamed, with_arguments, with_outputs

#: Elements of a constant that is written into every branch; a larger one would be written once more for each.
_SMALL = 64


@graph_pass
def simplify_branches(graph: Graph) -> Graph | Outcome:
    """Replace an If or Case by the branch that is always taken, and hand to branches only what they need.

        %true = Const() {true}
        %y = If(%true, %x, %z)                        %y = Relu(%x)
          then_branch: Relu(%x)                 ->
          else_branch: Neg(%z)

    A branch is always taken when the choice is a constant, or when all branches are one function. Of an assertion that
    holds, which is an If around it, nothing is left. Where the choice is open, small constants stand in the branches
    themselves, so that these can be folded, and what no branch reads and nobody reads of them goes.
    """
    findings: list[Finding] = []
    for name in [node.name for node in graph.nodes if node.op in BRANCHES]:
        if name in graph:
            outcome = _simplify(graph, graph[name])
            graph = outcome.graph
            findings += outcome.findings
    return Outcome(graph, tuple(findings))


def _simplify(graph: Graph, node: Node) -> Outcome:
    branch = _taken(graph, node)
    if branch is not None:
        return _inlined(graph, node, branch)
    if is_pure(node) and not node.controls and not _is_waited_for(graph, node):
        return _slimmed(graph, node)
    return Outcome(graph)


def _inlined(graph: Graph, node: Node, branch: Graph) -> Outcome:
    acting = [inner.op for inner in branch if not is_pure(inner) and inner.op not in ("NoOp", "Placeholder")]
    if node.controls or acting:
        why = f"waits for {', '.join(node.controls)}" if node.controls else f"may have an effect: {acting[0]}"
        return Outcome(graph, (Finding(node.name, False, f"the branch that is always taken {why}"),))
    editor = Editor(graph)
    for port, value in enumerate(Inlined(editor, branch, f"{node.name}/").call(node.inputs[1:])):
        editor.redirect(node.value(port), value)
    if _is_waited_for(graph, node):
        editor.update(Node(node.name, "NoOp"))  # remove_identities ends the waiting
    else:
        editor.remove(node.name)
    done = Finding(node.name, True, f"{node.op} replaced by the branch that is always taken")
    return Outcome(editor.finish(), (done,))


def _taken(graph: Graph, node: Node) -> Graph | None:
    """The branch that is taken whatever the caller feeds."""
    branches = _branches(node)
    if all(branch is branches[0] for branch in branches):
        return branches[0]
    chosen = graph.constant(node.inputs[0])
    if chosen is None or node.inputs[0].node in graph.targets:
        return None
    if node.op.endswith("If"):
        return branches[0] if _is_true(chosen) else branches[1]
    index = int(chosen.array)
    return branches[index] if 0 <= index < len(branches) else branches[-1]


def _branches(node: Node) -> list[Graph]:
    found = dict(bodies(node))
    return [found[label] for label in ("then_branch", "else_branch")] if node.op.endswith("If") else [*found.values()]


def _is_true(tensor: Tensor) -> bool:
    """As TensorFlow's If takes it: a scalar that is not zero or empty, or any other tensor that has elements."""
    if tensor.array.ndim:
        return bool(tensor.array.size)
    return bool(tensor.array.item()) if tensor.dtype is DType.STRING else bool(np.any(tensor.array))


def _is_waited_for(graph: Graph, node: Node) -> bool:
    return node.name in graph.targets or any(node.name in other.controls for other in graph.nodes)


def _slimmed(graph: Graph, node: Node) -> Outcome:
    """Without arguments that are small constants or that nobody reads, and without results that nobody reads."""
    read = [port for port in range(len(node.outputs)) if graph.is_read(node.value(port))]
    arguments = node.inputs[1:]
    known = {place: value for place, value in enumerate(arguments) if _is_small_constant(graph, value)}

    def returning(_: str, body: Graph) -> Graph:
        return with_outputs(_bound(graph, body, known), [body.outputs[port] for port in read])

    slim = map_bodies(node, returning)
    used = [place for place in range(len(arguments)) if any(_reads(body, place) for _, body in bodies(slim))]
    if not read or (len(read) == len(node.outputs) and len(used) == len(arguments)):
        return Outcome(graph)
    made = map_bodies(slim, lambda _, body: with_arguments(body, used))
    editor = Editor(graph)
    inputs = [node.inputs[0], *(arguments[place] for place in used)]
    outputs = [node.outputs[port] for port in read]
    added = editor.add(node.op, node.name, inputs, outputs, {**made.attrs, **_signature(graph, node, used, read)})
    for new, old in enumerate(read):
        editor.redirect(node.value(old), added.value(new))
    editor.remove(node.name)
    told = f"takes {len(used)} of {len(arguments)} values, returns {len(read)} of {len(node.outputs)}"
    return Outcome(renamed(editor.finish(), added.name, node.name), (Finding(node.name, True, told),))


def _signature(graph: Graph, node: Node, used: Sequence[int], read: Sequence[int]) -> Mapping[str, AttrValue]:
    shapes = node.attrs.get("output_shapes")
    return {
        "Tin": tuple(graph.type_of(node.inputs[1 + place]).dtype for place in used),
        "Tout": tuple(node.outputs[port].dtype for port in read),
        "output_shapes": tuple(node.outputs[port].shape for port in read) if shapes else (),
    }


def _is_small_constant(graph: Graph, value: Value) -> bool:
    tensor = graph.constant(value)
    return tensor is not None and tensor.array.size <= _SMALL and value.node not in graph.targets


def _bound(graph: Graph, body: Graph, known: dict[int, Value]) -> Graph:
    """With constants for the readers of these arguments; the arguments stay."""
    editor = Editor(body)
    for place, value in known.items():
        argument = Value(body.inputs[place])
        if body.is_read(argument):
            tensor = graph[value.node].tensor
            editor.redirect(argument, editor.constant(argument.node, tensor.array, tensor.dtype))
    return editor.finish()


def _reads(body: Graph, place: int) -> bool:
    return body.is_read(Value(body.inputs[place]))
