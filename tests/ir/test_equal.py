"""Which functions are equal."""

from __future__ import annotations

import numpy as np
import pytest

from tfopt.ir.bodies import bodies, graphs
from tfopt.ir.equal import attr_key, merge_functions
from tfopt.ir.graph import AttrValue, Graph
from tfopt.ir.text import parse
from tfopt.ir.types import DType, Tensor

INNER = """graph {
    %a = Placeholder() -> float32[2]
    %b = Exp(%a) {T: float32} -> float32[2]
    %c = Sub(%b, %a) {T: float32} -> float32[2]
    inputs %a
    outputs %c
  }"""


def calling(*functions: str) -> Graph:
    nodes = "".join(f"  %call_{number} = Call() {{f: {function}}}\n" for number, function in enumerate(functions))
    return parse(f"graph {{\n{nodes}}}")


def called(graph: Graph) -> list[Graph]:
    return [body for node in graph for _, body in bodies(node)]


def test_names_make_no_difference() -> None:
    renamed = INNER.replace("%a", "%in").replace("%b", "%up").replace("%c", "%out")
    first, second = called(merge_functions(calling(INNER, renamed)))
    assert first is second
    assert "a" in first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Sub(%b, %a)", "Sub(%a, %b)"),
        ("Exp", "Tanh"),
        ("float32[2]\n    inputs", "float32[?]\n    inputs"),
        ("outputs %c", "outputs %b"),
        ("outputs %c", "outputs %c\n    targets ^b"),
        ("Sub(%b, %a)", "Sub(%b, %a, ^b)"),
        ("Exp(%a) {T: float32}", "Exp(%a) {T: float32, mode: 1}"),
    ],
)
def test_everything_else_does(old: str, new: str) -> None:
    assert old in INNER
    graph = calling(INNER, INNER.replace(old, new))
    assert merge_functions(graph) is graph


def test_equal_functions_that_call_equal_functions() -> None:
    outer = f"graph {{ %x = Call() {{f: {INNER}}} }}"
    graph = calling(outer, outer, INNER)
    assert len(list(graphs(graph))) == 6
    assert len(list(graphs(merge_functions(graph)))) == 3


LARGE = np.zeros(2000, np.float32)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, True, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        ((1, 2), (1, 2), True),
        (DType.INT8, DType.INT8, True),
        (Tensor(np.float32([1])), Tensor(np.float32([1])), True),
        (Tensor(np.float32([1])), Tensor(np.float32([[1]])), False),
        (Tensor(np.array([b"a"], object)), Tensor(np.array([b"a"], object)), True),
        (Tensor(LARGE), Tensor(LARGE), False),
    ],
)
def test_attributes(left: AttrValue, right: AttrValue, equal: bool) -> None:
    assert (attr_key(left) == attr_key(right)) is equal
    assert attr_key(left) == attr_key(left)
