"""Groups of nodes that are one op in ONNX, or that runtimes know in one form only.

What is matched is what the exact recipe leaves (`passes/fuse_layer_norm.py`, `passes/fuse_gelu.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isclose, sqrt

import numpy as np

from tfopt.ir import DType, Graph, Node, Tensor, Value
from tfopt.targets.onnx_lowering.attributes import flag
from tfopt.targets.onnx_lowering.builder import Builder, Fused

_ADD = ("Add", "AddV2")
#: From this version on ONNX has the op; until then runtimes recognise a quotient by the root of two.
_GELU_SINCE = 20


def known_groups(graph: Graph) -> Mapping[str, Fused]:
    """By the name of the last node of a group: what the group reads, and how it is written. A group with a value on a
    grid within stays apart, so that this is rounded."""
    found: dict[str, Fused] = {}
    for ops, match in ((_ADD, _layer_norm), (("Mul",), _gelu)):
        for node in (node for op in ops for node in graph.by_op.get(op, ())):
            fused = match(graph, node)
            if fused is not None and not _has_grid_within(graph, node, fused.inputs):
                found[node.name] = fused
    return found


def _has_grid_within(graph: Graph, root: Node, inputs: tuple[Value, ...]) -> bool:
    waiting = list(root.inputs) if graph.grids else []
    while waiting:
        value = waiting.pop()
        if value not in inputs:
            if value in graph.grids:
                return True
            waiting += graph.producer(value).inputs
    return False


@dataclass(frozen=True)
class _LayerNorm:
    """y = (x - mean) / sqrt(variance + epsilon) gamma + beta, over the last axis."""

    x: Value
    gamma: Value
    beta: Value
    epsilon: float

    def write(self, b: Builder, node: Node) -> None:
        names = [b.get(value) for value in (self.x, self.gamma, self.beta)]
        b.bind(node.value(), b.emit("LayerNormalization", *names, axis=-1, epsilon=self.epsilon))


def _layer_norm(graph: Graph, root: Node) -> Fused | None:
    for scaled, beta in _orders(graph, root, "Mul"):
        for normed, gamma in _orders(graph, scaled, "Mul"):
            for rsqrt, d in _orders(graph, normed, "Rsqrt"):
                matched = _statistics(graph, rsqrt, d)
                if matched is None:
                    continue
                x, epsilon = matched
                kind = graph.type_of(x)
                width = kind.shape.dims[-1] if kind.shape.dims else None
                vectors = [graph.type_of(value).shape.dims for value in (gamma, beta)]
                if kind.dtype is DType.FLOAT32 and width is not None and vectors == [(width,), (width,)]:
                    return Fused((x, gamma, beta), _LayerNorm(x, gamma, beta, epsilon).write)
    return None


def _statistics(graph: Graph, rsqrt: Node, d: Value) -> tuple[Value, float] | None:
    """x and epsilon, when `d` is x - mean and `rsqrt` that of its mean square and epsilon."""
    centred, total = graph.producer(d), graph.producer(rsqrt.inputs[0])
    if centred.op != "Sub" or total.op not in _ADD:
        return None
    x, mean = centred.inputs[0], graph.producer(centred.inputs[1])
    for variance, epsilon in _orders(graph, total, "Mean"):
        squares, number = graph.producer(variance.inputs[0]), graph.constant(epsilon)
        square = squares.op == "Square" and squares.inputs[0] == d
        same = mean.op == "Mean" and mean.inputs[0] == x
        last = square and same and _over_last_axis(graph, mean) and _over_last_axis(graph, variance)
        if last and number is not None and number.array.size == 1:
            return x, float(number.array.reshape(-1)[0])
    return None


def _over_last_axis(graph: Graph, mean: Node) -> bool:
    axes, rank = graph.constant(mean.inputs[1]), graph.type_of(mean.inputs[0]).shape.rank
    return flag(mean, "keep_dims") and axes is not None and axes.array.reshape(-1).tolist() in ([-1], [(rank or 0) - 1])


@dataclass(frozen=True)
class _Gelu:
    """y = x / 2 (1 + erf(x / sqrt(2)))"""

    x: Value

    def write(self, b: Builder, node: Node) -> None:
        order = b.order(self.x)
        x = b.get(self.x, order)
        if b.opset >= _GELU_SINCE:
            b.bind(node.value(), b.emit("Gelu", x), order)
            return
        one_plus = b.emit("Add", b.emit("Erf", b.emit("Div", x, _scalar(b, node, sqrt(2)))), _scalar(b, node, 1))
        b.bind(node.value(), b.emit("Mul", b.emit("Mul", x, _scalar(b, node, 0.5)), one_plus), order)


def _scalar(b: Builder, node: Node, number: float) -> str:
    return b.zero_like(node.value(), number)


def _gelu(graph: Graph, root: Node) -> Fused | None:
    if root.outputs[0].dtype is not DType.FLOAT32:
        return None
    for half, other in _orders(graph, root, "Mul"):
        one_plus = graph.producer(other)
        if one_plus.op not in _ADD:
            continue
        for erf, one in _orders(graph, one_plus, "Erf"):
            x = _scaled(graph, half, 0.5)
            scaled = graph.producer(erf.inputs[0])
            if x is not None and _is_number(graph.constant(one), 1) and _scaled(graph, scaled, sqrt(0.5)) == x:
                return Fused((x,), _Gelu(x).write)
    return None


def _scaled(graph: Graph, node: Node, factor: float) -> Value | None:
    """x, when the node is x times this number."""
    if node.op != "Mul":
        return None
    pairs = (node.inputs, node.inputs[::-1])
    return next((x for x, number in pairs if _is_number(graph.constant(number), factor)), None)


def _is_number(tensor: Tensor | None, number: float) -> bool:
    if tensor is None or tensor.array.size != 1:
        return False
    return isclose(float(tensor.array.reshape(-1)[0]), number, rel_tol=float(np.finfo(np.float32).eps) * 2)


def _orders(graph: Graph, node: Node, op: str) -> Iterator[tuple[Node, Value]]:
    """Each input that such an op makes, with the other input."""
    for made, other in (node.inputs, node.inputs[::-1]):
        producer = graph.producer(made)
        if producer.op == op:
            yield producer, other
