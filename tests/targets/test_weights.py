"""Which weights become variables, in text; nothing here needs TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tfopt.ir import Graph
from tfopt.ir.text import parse, to_text
from tfopt.ir.verify import verify
from tfopt.targets.weights import as_variables, matrices, share_constants


def chosen(body: str, over: int = 16) -> list[str]:
    graph = parse(f"graph {{ {body} }}")
    verify(graph)
    return [node.name for node in matrices(graph, over)]


X = "%x = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]\n"
W = "%w = Const() {dtype: float32, value: float32[4,4] random(1)} -> float32[4,4]\n"


def test_a_matrix_larger_than_the_limit_is_chosen() -> None:
    product = X + W + "%y = MatMul(%x, %w) {T: float32} -> float32[?,4]\n outputs %y"
    assert chosen(product, over=63) == ["w"]
    assert chosen(product, over=64) == []


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        ("%y = BatchMatMulV2(%w, %x) {T: float32} -> float32[?,4]", ["w"]),
        ("%y = Einsum(%x, %w) {T: float32, N: 2, equation: 'ab,bc->ac'} -> float32[?,4]", ["w"]),
        ("%i = Identity(%w) {T: float32} -> float32[4,4]\n %y = MatMul(%x, %i) {T: float32} -> float32[?,4]", ["w"]),
        ("%y = AddV2(%x, %w) {T: float32} -> float32[4,4]", []),
        ("%m = MatMul(%x, %w) {T: float32} -> float32[?,4]\n %y = AddV2(%m, %w) {T: float32} -> float32[4,4]", []),
        ("%y = Identity(%w) {T: float32} -> float32[4,4]", []),
    ],
    ids=["batched", "einsum", "through an identity", "added", "multiplied and added", "an output behind an identity"],
)
def test_only_what_is_multiplied_is_chosen(reader: str, expected: list[str]) -> None:
    assert chosen(f"{X}{W}{reader}\n outputs %y") == expected


def test_an_embedding_is_chosen_and_looked_up_indices_are_not() -> None:
    table = """
      %ids = Const() {dtype: int32, value: int32[64] range(0, 1)} -> int32[64]
      %axis = Const() {dtype: int32, value: int32[] 0} -> int32[]
      %y = GatherV2(%w, %ids, %axis) {Tparams: float32, Tindices: int32, Taxis: int32} -> float32[64,4]
      outputs %y
    """
    assert chosen(W + table) == ["w"]


def test_filters_and_integers_are_not_chosen() -> None:
    assert (
        chosen(
            """
        %image = Placeholder() {dtype: float32, shape: [1,4,4,2]} -> float32[1,4,4,2]
        %filter = Const() {dtype: float32, value: float32[3,3,2,8] random(1)} -> float32[3,3,2,8]
        %y = Conv2D(%image, %filter) {T: float32, strides: (1, 1, 1, 1), padding: 'SAME'} -> float32[1,4,4,8]
        %n = Const() {dtype: int32, value: int32[4,4] splat(1)} -> int32[4,4]
        %z = MatMul(%n, %n) {T: int32} -> int32[4,4]
        outputs %y, %z
        """
        )
        == []
    )


def test_what_reads_a_variable_keeps_the_constants_name() -> None:
    graph = parse(f"graph {{ {X}{W} %y = MatMul(%x, %w) {{T: float32}} -> float32[?,4]\n inputs %x\n outputs %y }}")
    changed, variables = as_variables(graph, matrices(graph, 16))
    verify(changed)
    assert [(item.handle, item.read) for item in variables] == [("w/variable", "w")]
    assert variables[0].tensor is graph["w"].tensor
    assert "%w = ReadVariableOp(%w/variable) {dtype: float32} -> float32[4,4]" in to_text(changed)
    assert changed["y"] is graph["y"]


def twins(control: str = "") -> Graph:
    """`twin` holds the very tensor of `w`."""
    twin = f"%twin = Const({control}) {{dtype: float32, value: float32[4,4] splat(0)}} -> float32[4,4]\n"
    product = "%y = MatMul(%w, %twin) {T: float32} -> float32[4,4]\n outputs %y"
    graph = parse(f"graph {{ {X}{W}{twin}{product} }}")
    nodes = [replace(node, attrs=graph["w"].attrs) if node.name == "twin" else node for node in graph]
    return replace(graph, nodes=tuple(nodes))


def test_one_tensor_is_one_node() -> None:
    shared = share_constants(twins())
    verify(shared)
    assert "twin" not in shared
    assert [value.node for value in shared["y"].inputs] == ["w", "w"]


def test_equal_tensors_that_are_not_one_stay_two() -> None:
    graph = parse(
        f"graph {{ {W}{W.replace('%w', '%v')} %y = MatMul(%w, %v) {{T: float32}} -> float32[4,4]\n outputs %y }}"
    )
    assert share_constants(graph) is graph


def test_a_constant_that_waits_or_is_kept_stays() -> None:
    waiting = twins("^x")
    assert share_constants(waiting) is waiting
    kept = twins()
    assert share_constants(kept, keep=["twin"]) is kept
