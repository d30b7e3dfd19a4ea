"""Drop dropout that drops nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass

_UNIFORM = ("RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2")


@graph_pass
def remove_dropout(graph: Graph) -> Graph | Outcome:
    """Remove dropout whose rate is a constant zero, and multiplications by a constant one.

        %u = RandomUniform(%shape)                    %y = Relu(%x)
        %keep = GreaterEqual(%u, 0.0)           ->
        %kept = SelectV2(%keep, %x, 0.0)
        %y = Relu(%kept)

    Layers that are left out at inference leave no dropout, or an Identity; what comes here is tf.nn.dropout whose
    rate or keep_prob was a tensor. Two forms of its mask are known: `u >= rate` as a condition or cast to a number
    (TensorFlow 1.13 and later), and `floor(keep_prob + u)` before that. A rate above zero is left alone: such a
    model draws random numbers when it serves, and to stop that would change its outputs.
    """
    editor = Editor(graph)
    findings = []
    for node in graph.nodes:
        for kept, reason in _candidates(graph, node):
            reason = reason or _reshaping(graph, node, kept)
            findings.append(Finding(node.name, reason is None, reason or f"{node.op} by a mask of ones removed"))
            if reason is None:
                editor.redirect(node.value(), kept)
                break
    return Outcome(editor.finish(), tuple(findings))


def _candidates(graph: Graph, node: Node) -> Iterator[tuple[Value, str | None]]:
    """What `node` would hand on if its other input were a mask of ones, and what is against that."""
    if node.op == "Mul":
        left, right = node.inputs
        for kept, mask in ((left, right), (right, left)):
            if _is_one(graph, mask):
                yield kept, None
            elif (drops := _drops(graph, mask)) is not None:
                yield kept, drops or None
    elif node.op in ("RealDiv", "Div") and _is_one(graph, node.inputs[1]):
        yield node.inputs[0], None
    elif node.op in ("Select", "SelectV2") and (drops := _drops(graph, node.inputs[0])) is not None:
        yield node.inputs[1], drops or None


def _drops(graph: Graph, mask: Value) -> str | None:
    """None when `mask` is no dropout mask, "" when it is all ones, else what it drops."""
    node = graph.producer(mask)
    if node.op == "Cast":
        node = graph.producer(node.inputs[0])
    if node.op == "GreaterEqual" and _is_uniform(graph, node.inputs[0]):
        rate = _scalar(graph, node.inputs[1])
        return _said(rate, rate is not None and rate <= 0, "rate")
    if node.op == "Floor" and (added := graph.producer(node.inputs[0])).op in ("Add", "AddV2"):
        for uniform, keep in (added.inputs, added.inputs[::-1]):
            if _is_uniform(graph, uniform):
                keep_prob = _scalar(graph, keep)
                return _said(keep_prob, keep_prob == 1, "keep_prob")
    return None


def _said(number: float | None, drops_nothing: bool, name: str) -> str:
    if drops_nothing:
        return ""
    known = f"of {name} {number:g}" if number is not None else f"whose {name} is no constant"
    return f"a dropout {known} is active when the model serves: export it with training=False"


def _is_uniform(graph: Graph, value: Value) -> bool:
    """Random numbers in [0, 1), as they are or, as random_uniform makes them, times 1 and plus 0."""
    node = graph.producer(value)
    if node.op in _UNIFORM:
        return True
    neutral = {"Mul": 1.0, "Add": 0.0, "AddV2": 0.0}.get(node.op)
    if neutral is None:
        return False
    return any(
        _scalar(graph, other) == neutral and _is_uniform(graph, inner)
        for inner, other in (node.inputs, node.inputs[::-1])
    )


def _scalar(graph: Graph, value: Value) -> float | None:
    tensor = graph.constant(value)
    if tensor is None or not tensor.dtype.is_floating or tensor.array.size != 1:
        return None
    return float(tensor.array.reshape(())[()])


def _is_one(graph: Graph, value: Value) -> bool:
    tensor = graph.constant(value)
    if tensor is None or tensor.dtype in (DType.STRING, DType.BOOL):
        return False
    return bool(np.all(tensor.array == 1))


def _reshaping(graph: Graph, node: Node, kept: Value) -> str | None:
    """A mask of ones still changes the value when it broadcasts it to another shape."""
    before, after = graph.type_of(kept), node.outputs[0]
    others = [graph.type_of(value) for value in node.inputs if value != kept]
    if before == after and (after.shape.is_static or all(_cannot_stretch(t, before) for t in others)):
        return None
    if before == after and _shaped_like(graph, node, before):
        return None
    return f"may broadcast {before} to {after}"


def _cannot_stretch(mask: TensorType, value: TensorType) -> bool:
    """Dims that are 1, or equal a known one, broadcast nothing."""
    theirs, ours = mask.shape.dims, value.shape.dims
    if theirs is None or ours is None or len(theirs) > len(ours):
        return False
    aligned = ours[len(ours) - len(theirs) :]
    return all(t == 1 or (t is not None and t == o) for t, o in zip(theirs, aligned, strict=True))


def _shaped_like(graph: Graph, node: Node, kept: TensorType) -> bool:
    """Do the random numbers take their shape from a value that has the kept value's type?"""
    stack, seen = list(node.inputs), set()
    while stack:
        maker = graph.producer(stack.pop())
        if maker.op in _UNIFORM:
            shape = graph.producer(maker.inputs[0])
            return shape.op == "Shape" and graph.type_of(shape.inputs[0]).shape == kept.shape
        if maker.name not in seen and maker.op in ("Cast", "Floor", "GreaterEqual", "Add", "AddV2", "Mul"):
            seen.add(maker.name)
            stack.extend(maker.inputs)
    return False
