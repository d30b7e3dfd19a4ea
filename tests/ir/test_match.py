"""The matcher: what it binds, and why it fails."""

from __future__ import annotations

import pytest

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.match import Match, Miss, Pattern, anything, constant, either, match, op
from tfopt.ir.text import parse

GRAPH = parse("""graph {
  %x = Placeholder() -> float32[2]
  %c = Const() {dtype: float32, value: float32[2] splat(1)} -> float32[2]
  %neg = Neg(%x) -> float32[2]
  %mul = Mul(%c, %neg) -> float32[2]
  %sub = Sub(%c, %mul) -> float32[2]
  %square = Mul(%x, %x) -> float32[2]
  %twice = AddV2(%mul, %square) -> float32[2]
  outputs %sub, %twice
}""")


def found(name: str, pattern: Pattern) -> Match:
    result = match(GRAPH, Value(name), pattern)
    assert isinstance(result, Match), result
    return result


def missed(name: str, pattern: Pattern) -> Miss:
    result = match(GRAPH, Value(name), pattern)
    assert isinstance(result, Miss) and not result
    return result


def test_binds_nodes_values_and_tensors() -> None:
    result = found("sub", op("Sub", constant("c"), op("Mul", anything("inner"), constant("c")), bind="sub"))
    assert result.nodes["sub"] is GRAPH["sub"]
    assert result.values == {"sub": Value("sub"), "c": Value("c"), "inner": Value("neg")}
    assert result.tensors["c"] is GRAPH["c"].tensor
    assert result


def test_commutative_inputs_match_in_either_order_others_do_not() -> None:
    found("mul", op("Mul", op("Neg"), constant()))
    found("mul", op("Mul", constant(), op("Neg")))
    assert missed("sub", op("Sub", op("Mul"), constant())) == Miss("c", "is a Const, not Mul", 1)


def test_a_name_bound_twice_stands_for_one_value() -> None:
    found("square", op("Mul", anything("a"), anything("a")))
    miss = missed("mul", op("Mul", anything("a"), anything("a")))
    assert miss.reason.endswith("which a stands for already")


def test_a_failed_order_leaves_no_bindings() -> None:
    # The first order binds `k` to the wrong value before it fails.
    result = found("mul", op("Mul", anything("k"), constant("c")))
    assert result.values["k"] == Value("neg")


@pytest.mark.parametrize(
    ("name", "pattern", "miss"),
    [
        ("neg", op("Relu"), Miss("neg", "is a Neg, not Relu", 0)),
        ("neg", op(("Relu", "Abs")), Miss("neg", "is a Neg, not Abs or Relu", 0)),
        ("neg", constant(), Miss("neg", "is a Neg where a constant is needed", 0)),
        ("neg", op("Neg", op("Relu")), Miss("x", "is a Placeholder, not Relu", 1)),
        ("neg", op("Neg", anything(), anything()), Miss("neg", "has 1 inputs, not 2", 1)),
        ("mul", op("Mul", private=True), Miss("mul", "has 2 readers", 1)),
        ("sub", op("Sub", private=True), Miss("sub", "is an output of the graph", 1)),
        ("neg", op("Neg", where=lambda graph, node: "is not wanted"), Miss("neg", "is not wanted", 1)),
        # Of the two orders the one that fits further is told.
        ("mul", op("Mul", op("Neg", op("Relu")), constant()), Miss("x", "is a Placeholder, not Relu", 2)),
        # Of the alternatives too.
        ("neg", either(op("Relu"), op("Neg", constant())), Miss("x", "is a Placeholder where a constant is needed", 1)),
    ],
)
def test_a_miss_says_where_and_why(name: str, pattern: Pattern, miss: Miss) -> None:
    assert missed(name, pattern) == miss


def test_conditions_see_graph_and_node() -> None:
    seen: list[tuple[Graph, Node]] = []

    def look(graph: Graph, node: Node) -> str | None:
        seen.append((graph, node))
        return None

    found("neg", op("Neg", where=look))
    assert seen == [(GRAPH, GRAPH["neg"])]


def test_the_first_alternative_that_fits_is_bound() -> None:
    result = found("twice", either(op("Sub", bind="s"), op("AddV2", anything("l"), bind="a"), op("AddV2", bind="b")))
    assert set(result.nodes) == {"a", "l"}
