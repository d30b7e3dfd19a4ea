"""Drop dropout that drops nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass

_MASKING = frozenset({"Mul", "RealDiv", "Div", "Select", "SelectV2"})
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
    origin: dict[Value, Value] = {}
    for node in graph.nodes:
        if node.op not in _MASKING or not graph.is_read(node.value()):
            continue
        for place, reason in _candidates(graph, node):
            kept = origin.get(node.inputs[place], node.inputs[place])
            reason = reason or _waiting(node) or _stretch(graph, node, place, kept) or _echo(graph, node, kept)
            findings.append(Finding(node.name, reason is None, reason or f"{node.op} that changes nothing removed"))
            if reason is None:
                origin[node.value()] = kept
                editor.redirect(node.value(), kept)
                break
    return Outcome(editor.finish(), tuple(findings))


def _candidates(graph: Graph, node: Node) -> Iterator[tuple[int, str | None]]:
    """Which input `node` would hand on if the others were a mask of ones, and what is against that."""
    if node.op in ("Select", "SelectV2"):
        masks = [(1, node.inputs[0])]
    elif node.op == "Mul":
        masks = [(0, node.inputs[1]), (1, node.inputs[0])]
    else:
        masks = [(0, node.inputs[1])] if _is_one(graph, node.inputs[1]) else []
    for place, mask in masks:
        if node.op not in ("Select", "SelectV2") and _is_one(graph, mask):
            yield place, None
        elif (drops := _drops(graph, mask)) is not None:
            yield place, drops or None


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


def _waiting(node: Node) -> str | None:
    return f"waits for {', '.join(node.controls)}" if node.controls else None


def _echo(graph: Graph, node: Node, kept: Value) -> str | None:
    if node.value() in graph.output_set and graph.producer(kept).op == "Placeholder":
        return f"leads the input {kept} to an output, and TensorFlow does not fetch what is fed"
    return None


def _stretch(graph: Graph, node: Node, place: int, kept: Value) -> str | None:
    """A mask of ones still changes a value that it broadcasts to another shape."""
    before, after = graph.type_of(kept), node.outputs[0]
    others = [value for at, value in enumerate(node.inputs) if at != place]
    fits = after.shape.is_static or all(
        _cannot_stretch(graph.type_of(value), before) or _shaped_like(graph, value, (kept, node.inputs[place]))
        for value in others
    )
    return None if before == after and fits else f"may broadcast {before} to {after}"


def _cannot_stretch(mask: TensorType, value: TensorType) -> bool:
    """Dims that are 1, or equal a known one, broadcast nothing."""
    theirs, ours = mask.shape.dims, value.shape.dims
    if theirs is None or ours is None or len(theirs) > len(ours):
        return False
    aligned = ours[len(ours) - len(theirs) :]
    return all(t == 1 or (t is not None and t == o) for t, o in zip(theirs, aligned, strict=True))


def _shaped_like(graph: Graph, mask: Value, values: tuple[Value, ...]) -> bool:
    """Do the random numbers behind `mask` take their shape from one of `values`?"""
    stack = [mask]
    while stack:
        maker = graph.producer(stack.pop())
        if maker.op in _UNIFORM:
            shape = graph.producer(maker.inputs[0])
            return shape.op == "Shape" and shape.inputs[0] in values
        if maker.op in ("Cast", "Floor", "GreaterEqual", "Add", "AddV2", "Mul"):
            stack.extend(maker.inputs)
    return False
