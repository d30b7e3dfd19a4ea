"""The text form prints and parses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.ir.graphs import graphs, same_graph
from tfopt.errors import InvalidModel
from tfopt.ir.graph import FunctionRef, Graph, Node, Value
from tfopt.ir.text import parse, to_text
from tfopt.ir.types import DType, Shape, Tensor, TensorType

EXAMPLE = """graph {
  %x = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]
  %w = Const() {dtype: float32, value: float32[4,2] [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]} -> float32[4,2]
  %y = MatMul(%x, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  %halves = Split(%axis, %y, ^w) {T: float32, num_split: 2} -> float32[?,1], float32[?,1]
  %call = MyOps>Call(%halves:1) {f: @body, list: (1, 0.5, 'a\\x00b', int32), one: (2)}
  inputs %x
  outputs %halves:1, %y
  targets ^call
}
"""


NESTED = """graph {
  %x = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
  %case = StatelessCase(%x) {Tin: (), Tout: (float32), branches: (graph {
    %c = Const() {dtype: float32, value: float32[] 1.0} -> float32[]
    outputs %c
  }, graph {
    %c = Identity(%d) {T: float32} -> float32[]
    %checked = Assert(%c) {summarize: 3, then: graph {
    }}
    inputs %d
    outputs %c
    targets ^checked
  }), output_shapes: ([])} -> float32[]
  inputs %x
  outputs %case
}
"""


@pytest.mark.parametrize("text", [EXAMPLE, NESTED])
def test_prints_what_it_parses(text: str) -> None:
    assert to_text(parse(text)) == text


def test_a_function_is_a_graph_in_an_attribute() -> None:
    branches = parse(NESTED)["case"].attrs["branches"]
    assert isinstance(branches, tuple)
    first, second = branches
    assert isinstance(first, Graph)
    assert isinstance(second, Graph)
    assert [len(branch) for branch in (first, second)] == [1, 2]
    assert (second.inputs, second.outputs, second.targets) == (("d",), (Value("c"),), ("checked",))


@settings(max_examples=150, derandomize=True)
@given(graphs())
def test_parses_what_it_prints(graph: Graph) -> None:
    assert same_graph(parse(to_text(graph, None)), graph)


def constant(tensor: Tensor) -> str:
    graph = Graph((Node("c", "Const", (), {"dtype": tensor.dtype, "value": tensor}, (tensor.type,)),))
    (read,) = parse(to_text(graph)).nodes
    assert read.tensor.type == tensor.type
    return to_text(graph).splitlines()[1].partition("value: ")[2].partition("}")[0]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.float32([np.nan, np.inf, -np.inf, -0.0]), "float32[4] [nan, inf, -inf, -0.0]"),
        (np.float32(0.1), "float32[] 0.10000000149011612"),
        (np.array([True, False]), "bool[2] [true, false]"),
        (np.zeros((0, 3), np.int8), "int8[0,3] []"),
        (np.complex64([1 - 2j]), "complex64[1] [[1.0, -2.0]]"),
        (np.array([[b"a'\n", b"\xff"]], object), "string[1,2] [[\"a'\\n\", '\\xff']]"),
        (np.array(b"", object), "string[] ''"),
    ],
)
def test_prints_payloads(array: np.ndarray, text: str) -> None:
    assert constant(Tensor(np.asarray(array))) == text


def test_generators_make_the_same_numbers_each_time() -> None:
    def array(literal: str) -> np.ndarray:
        return parse(f"graph {{ %c = Const() {{value: {literal}}} -> float32[2,2] }}")["c"].tensor.array

    np.testing.assert_array_equal(array("float32[2,2] splat(3)"), np.full((2, 2), 3, np.float32))
    np.testing.assert_array_equal(array("int32[2,2] range(5, -2)"), np.int32([[5, 3], [1, -1]]))
    first, again, other = (array(f"float32[2,2] random({seed})") for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_large_tensors_are_elided_and_cannot_be_read_back() -> None:
    tensor = Tensor(np.arange(17, dtype=np.float32))
    graph = Graph((Node("c", "Const", (), {"value": tensor}, (tensor.type,)),))
    assert "elided(" in to_text(graph)
    assert "elided(" not in to_text(graph, 17)
    with pytest.raises(InvalidModel, match=r"line 2: .* holds elided\(\.\.\.\), which has no data to read"):
        parse(to_text(graph))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%y = Relu(%x) -> float33[2]", "names no dtype: 'float33'"),
        ("%y = Relu(%x -> float32[2]", "has '->' where a value is needed"),
        ("%y Relu(%x)", "has 'Relu' where a = is needed"),
        ("%y = Const() {value: float32[3] [1.0, 2.0]}", r"holds no float32\[3\]: the literal's shape is \(2,\)"),
        ("%y = Const() {value: float32[2] [[1.0], 2.0]}", r"holds no float32\[2\]"),
        ("%y = Const() {value: int8[1] [300]}", r"holds no int8\[1\]"),
        ("%y = Const() {value: float32[?] [1.0]}", r"holds a tensor of unknown shape \[\?\]"),
        ("%y = Relu(~x)", "cannot be read"),
    ],
)
def test_mistakes_name_their_line(line: str, words: str) -> None:
    with pytest.raises(InvalidModel, match=f"graph text, line 3: .*{words}"):
        parse(f"graph {{\n  %x = Placeholder() -> float32[2]\n  {line}\n}}")


def test_a_text_that_ends_early() -> None:
    with pytest.raises(InvalidModel, match="ends where a"):
        parse("graph {\n  %x = Relu(%y)")


def test_values_functions_and_comments() -> None:
    graph = parse("graph { # a comment\n %a = Op(%b:12, ^c) {f: @'odd <name>', 'a key': 1} outputs %a }")
    (node,) = graph.nodes
    assert node.inputs == (Value("b", 12),)
    assert node.controls == ("c",)
    assert node.attrs == {"f": FunctionRef("odd <name>"), "a key": 1}
    assert graph.outputs == (Value("a"),)
    assert str(Value("b", 12)) == "%b:12"


def test_shapes_and_types_as_text() -> None:
    types = (TensorType(DType.INT8), TensorType(DType.INT8, Shape.of()), TensorType(DType.INT8, Shape.of(None, 2)))
    assert [str(made) for made in types] == ["int8[*]", "int8[]", "int8[?,2]"]
