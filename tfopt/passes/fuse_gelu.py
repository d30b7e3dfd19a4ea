"""Write GELU in the one form that TensorFlow and TFLite both know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import pi, sqrt

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import numpy_dtype
from tfopt.passes.arithmetic.factors import close, multiplied, only_reader, plus, reads_at, scaled
from tfopt.passes.base import Finding, Outcome, graph_pass

_TANH_SCALE = sqrt(2 / pi)
_CUBIC = 0.044715


@graph_pass
def fuse_gelu(graph: Graph) -> Graph | Outcome:
    """Write GELU as 0.5 x (1 + erf(x / sqrt 2)), or 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).

        %a = Neg(%x)                                  %h = Mul(0.5, %x)
        %b = Mul(%a, 0.7071)                          %a = Mul(%x, 0.7071)
        %c = Erfc(%b)                           ->    %b = Erf(%a)
        %d = Mul(0.5, %c)                             %c = AddV2(1, %b)
        %y = Mul(%x, %d)                              %y = Mul(%h, %c)

    Hendrycks & Gimpel, "Gaussian Error Linear Units" (2016), https://arxiv.org/abs/1606.08415. Libraries write it in a
    dozen ways. In this one TensorFlow computes it in the kernel of the MatMul and bias before it, and the TFLite
    converter makes it one op, without which erf needs TensorFlow's own kernels there.
    """
    editor = Editor(graph)
    findings = []
    for node in graph.nodes:
        finding = None
        if node.op in ("Erf", "Erfc"):
            finding = _exact(graph, editor, node)
        elif node.op == "Tanh":
            finding = _approximate(graph, editor, node)
        if finding is not None:
            findings.append(finding)
    return Outcome(editor.finish(), tuple(findings))


def _exact(graph: Graph, editor: Editor, node: Node) -> Finding | None:
    inner = scaled(graph, node.inputs[0])
    if inner.base is None:
        return None
    sign = 1.0 if node.op == "Erf" else -1.0
    root = _root(graph, node, inner.base)
    if root is None:
        return Finding(node.name, False, f"{node.op} is no part of x (1 + erf(x / sqrt 2)) / 2")
    if not close(graph, inner.base, inner.factor, sign * sqrt(0.5)):
        return Finding(node.name, False, f"{node.op} of {inner.factor:g} x, which is no GELU")
    if _is_canonical(graph, root, inner.base) and node.op == "Erf" and _times(graph, node.inputs[0], inner.base):
        return None
    make = _Maker(editor, root, inner.base)
    make.gelu(make.one("Erf", "erf", make.scaled("scaled", inner.base, sqrt(0.5), number_first=False)))
    return Finding(root.name, True, f"GELU by {node.op.lower()}")


def _approximate(graph: Graph, editor: Editor, node: Node) -> Finding | None:
    base = _base_of_cubic(graph, node.inputs[0])
    if base is None:
        return None
    root = _root(graph, node, base)
    if root is None:
        return Finding(node.name, False, "tanh of x + 0.044715 x^3 is no part of a GELU")
    is_known = _is_canonical(graph, root, base) and _is_canonical_cubic(graph, node, base)
    if is_known and _are_named_in_order(graph, root):
        return None
    make = _Maker(editor, root, base)
    cube = make.two("Mul", "cube", base, make.two("Mul", "square", base, base))
    sum_ = make.two("AddV2", "sum", base, make.scaled("cubic", cube, _CUBIC))
    make.gelu(make.one("Tanh", "tanh", make.scaled("scaled", sum_, _TANH_SCALE)))
    return Finding(root.name, True, "GELU by tanh")


def _root(graph: Graph, node: Node, base: Value) -> Node | None:
    """The product that is the whole of a GELU of `base`."""
    value = node.value()
    if node.op != "Erfc":
        sum_ = only_reader(graph, value)
        if sum_ is None or (added := plus(graph, sum_)) is None or added[0] != 1.0:
            return None
        value = sum_.value()
    made = graph.type_of(base)
    for product, by in multiplied(graph, value):
        same = made.shape.dims is not None and product.outputs == (made,)
        if by.base == base and same and close(graph, base, by.factor, 0.5):
            return product
    return None


def _is_canonical(graph: Graph, root: Node, base: Value) -> bool:
    half, sum_ = (graph.producer(value) for value in root.inputs)
    return (
        root.op == "Mul"
        and half.op == "Mul"
        and reads_at(graph, root.inputs[0], 1, base.__eq__)
        and sum_.op == "AddV2"
        and graph.producer(sum_.inputs[0]).op == "Const"
    )


def _are_named_in_order(graph: Graph, root: Node) -> bool:
    """TensorFlow's optimizer sorts the operands of a product by their names, and knows this one with the sum first.
    A half of x that others read too has the name that merge_duplicates gave it."""
    half, sum_ = root.inputs
    return sum_.node < half.node or not graph.is_private(half)


def _times(graph: Graph, value: Value, base: Value) -> bool:
    node = graph.producer(value)
    return node.op == "Mul" and reads_at(graph, value, 0, base.__eq__)


def _base_of_cubic(graph: Graph, value: Value) -> Value | None:
    """x, where the value is sqrt(2/pi) (x + 0.044715 x^3), also with x or both numbers taken out of the sum."""
    for total, linear, cubic in _sums(graph, value):
        for one, other in ((linear, cubic), (cubic, linear)):
            x = scaled(graph, one)
            if x.base is None or _power(graph, other, x.base) is None:
                continue
            factor, power = _power(graph, other, x.base) or (0.0, 0)
            is_gelu = close(graph, x.base, total * x.factor, _TANH_SCALE) and power == 3
            if is_gelu and close(graph, x.base, total * factor, _TANH_SCALE * _CUBIC):
                return x.base
    return None


def _sums(graph: Graph, value: Value) -> Iterator[tuple[float, Value, Value]]:
    """A number and the two values of whose sum it is a multiple."""
    outer = scaled(graph, value)
    if outer.base is None:
        return
    node = graph.producer(outer.base)
    if node.op in ("Add", "AddV2") and not node.controls:
        yield outer.factor, node.inputs[0], node.inputs[1]


def _power(graph: Graph, value: Value, base: Value) -> tuple[float, int] | None:
    """The value as a number times a power of `base`."""
    if value == base:
        return 1.0, 1
    outer = scaled(graph, value)
    if outer.base is None:
        return None
    if outer.base == base:
        return outer.factor, 1
    node = graph.producer(outer.base)
    if node.controls:
        return None
    if node.op == "Square":
        inner = _power(graph, node.inputs[0], base)
        return None if inner is None else (outer.factor * inner[0] ** 2, 2 * inner[1])
    if node.op == "Pow":
        return _pow(graph, node, base, outer.factor)
    if node.op == "Mul":
        left, right = (_power(graph, each, base) for each in node.inputs)
        return None if left is None or right is None else (outer.factor * left[0] * right[0], left[1] + right[1])
    return None


def _pow(graph: Graph, node: Node, base: Value, factor: float) -> tuple[float, int] | None:
    exponent, inner = scaled(graph, node.inputs[1]), _power(graph, node.inputs[0], base)
    if exponent.base is not None or exponent.factor not in (2.0, 3.0) or inner is None:
        return None
    power = int(exponent.factor)
    return factor * inner[0] ** power, inner[1] * power


def _is_canonical_cubic(graph: Graph, node: Node, base: Value) -> bool:
    """Numbers and x stand first. Where others read a part of it too, merge_duplicates may keep their order."""
    parts, places = [node.inputs[0]], []
    for op, is_number in (("Mul", True), ("AddV2", False), ("Mul", True), ("Mul", False)):
        maker = graph.producer(parts[-1])
        known = [graph.constant(each) is not None if is_number else each == base for each in maker.inputs]
        if maker.op != op or True not in known:
            return False
        places.append(known.index(True))
        parts.append(maker.inputs[1 - places[-1]])
    is_own = all(graph.is_private(part) for part in parts)
    return graph.producer(parts[-1]).inputs == (base, base) and not (is_own and any(places))


class _Maker:
    """Adds the nodes of one GELU of `base`; the last takes the place of `root`."""

    def __init__(self, editor: Editor, root: Node, base: Value) -> None:
        self._editor = editor
        self._root = root
        self._base = base
        self._dtype = root.outputs[0].dtype

    def gelu(self, curve: Value) -> None:
        half = self.scaled("half", self._base, 0.5)
        gate = self.two("AddV2", "gate", self._number("one", 1.0), curve)
        self._editor.update(replace(self._root, op="Mul", inputs=(half, gate), attrs={"T": self._dtype}))

    def one(self, op: str, name: str, value: Value) -> Value:
        return self._add(op, name, value)

    def two(self, op: str, name: str, left: Value, right: Value) -> Value:
        return self._add(op, name, left, right)

    def scaled(self, name: str, value: Value, factor: float, *, number_first: bool = True) -> Value:
        number = self._number(f"{name}/factor", factor)
        return self._add("Mul", name, *((number, value) if number_first else (value, number)))

    def _add(self, op: str, name: str, *inputs: Value) -> Value:
        made = self._root.outputs
        return self._editor.add(op, f"{self._root.name}/{name}", inputs, made, {"T": self._dtype}).value()

    def _number(self, name: str, number: float) -> Value:
        array = np.array(number, numpy_dtype(self._dtype))
        return self._editor.constant(f"{self._root.name}/{name}", array, self._dtype)
