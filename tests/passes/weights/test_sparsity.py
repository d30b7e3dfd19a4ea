"""Masks by block and by pattern, on weights of every layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.errors import InvalidRecipe
from tfopt.ir.bodies import all_nodes, innermost_first
from tfopt.ir.graph import Graph, Model, Node, Value
from tfopt.ir.linear import linear
from tfopt.ir.rewrite import constant_node
from tfopt.ir.text import parse
from tfopt.ir.types import UNKNOWN_SHAPE, DType, Tensor, TensorType
from tfopt.ledger import Scales
from tfopt.passes.prune_magnitude import prune_magnitude
from tfopt.passes.weights.sparsity import Matrix, mask_of_every, masks, parse_block, parse_pattern


def matrix(op: str, weight: np.ndarray, **attrs: bool) -> Matrix:
    x = Node("x", "Placeholder", outputs=(TensorType(DType.FLOAT32, UNKNOWN_SHAPE),))
    layer = Node("y", op, (Value("x"), Value("w")), attrs)
    found = linear(Graph((x, constant_node("w", Tensor(weight)), layer)), layer)
    assert not isinstance(found, str)
    return Matrix.of(found)


SHAPES = {
    "Conv2D": (3, 2, 8, 5),
    "Conv2DBackpropInput": (3, 2, 5, 8),
    "DepthwiseConv2dNative": (3, 3, 4, 2),
    "MatMul": (8, 5),
    "Conv3D": (2, 2, 2, 4, 3),
}


@pytest.mark.parametrize("op", SHAPES)
def test_the_matrix_counts_output_channels_and_leads_back(op: str) -> None:
    weight = np.random.default_rng(0).standard_normal(SHAPES[op]).astype(np.float32)
    seen = matrix(op, weight)
    assert seen.values.shape == (
        weight.size // seen.values.shape[1],
        {"DepthwiseConv2dNative": 8, "Conv3D": 3}.get(op, 5),
    )
    mask = seen.values > 0.5
    np.testing.assert_array_equal(seen.back(mask), weight > 0.5)


@pytest.mark.parametrize("op", ["Conv2D", "Conv2DBackpropInput", "MatMul", "Conv3D"])
def test_two_of_every_four_input_channels_stay(op: str) -> None:
    weight = np.random.default_rng(0).standard_normal(SHAPES[op]).astype(np.float32)
    mask = mask_of_every(matrix(op, weight), 2, 4)
    in_axis = {"Conv2D": 2, "Conv2DBackpropInput": 3, "MatMul": 0, "Conv3D": 3}[op]
    groups = np.moveaxis(mask, in_axis, -1).reshape(-1, 4)
    assert (groups.sum(1) == 2).all()
    magnitudes = np.abs(np.moveaxis(weight, in_axis, -1).reshape(-1, 4))
    assert (np.where(groups, magnitudes, 0).max(1) <= np.where(groups, np.inf, magnitudes).min(1)).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.floats(0, 0.99))
def test_blocks_go_whole(rows: int, columns: int, high: int, wide: int, share: float) -> None:
    weight = np.random.default_rng(rows * 10 + columns).standard_normal((rows, columns)).astype(np.float32)
    (mask,) = masks([matrix("MatMul", weight)], share, (high, wide), together=False)
    places = [np.s_[r : r + high, c : c + wide] for r in range(0, rows, high) for c in range(0, columns, wide)]
    blocks = [mask[place] for place in places]
    assert all(block.all() or not block.any() for block in blocks)
    assert sum(bool(block.all()) for block in blocks) == round(share * len(blocks))
    means = [np.abs(weight[place]).mean() for place in places]
    gone = [mean for mean, block in zip(means, blocks, strict=True) if block.all()]
    kept = [mean for mean, block in zip(means, blocks, strict=True) if not block.all()]
    assert max(gone, default=0) <= min(kept, default=np.inf) * (1 + 1e-6)


@pytest.mark.parametrize("text", ["4", "0x4", "4x", "axb", "4:1"])
def test_blocks_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRecipe, match="4x1"):
        parse_block(text)


@pytest.mark.parametrize("text", ["2", "0:4", "4:4", "5:4", "2x4"])
def test_patterns_that_are_none(text: str) -> None:
    with pytest.raises(InvalidRecipe, match="2:4"):
        parse_pattern(text)


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"block": "2x2"}, {"scope": "global"}])
def test_a_pattern_stands_alone(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRecipe, match="by itself"):
        prune_magnitude.run_model(Model(Graph(()), {}), {"pattern": "2:4", **options})


BRANCHES = """graph {
  %index = Placeholder() {dtype: int32, shape: []} -> int32[]
  %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
  %v = Const() {dtype: float32, value: float32[2,2] [[10.0, 20.0], [30.0, 40.0]]} -> float32[2,2]
  %h = MatMul(%x, %v) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  %y = Case(%index, %h) {Tin: (float32), Tout: (float32), branches: (graph {
    %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
    %w = Const() {dtype: float32, value: float32[2,2] [[1.0, 2.0], [3.0, 4.0]]} -> float32[2,2]
    %y = MatMul(%x, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
    inputs %x
    outputs %y
  }, graph {
    %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
    %u = Const() {dtype: float32, value: float32[2,2] [[1.0, 2.0], [3.0, 4.0]]} -> float32[2,2]
    %z = MatMul(%x, %u) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
    %y = Tanh(%z) {T: float32} -> float32[?,2]
    inputs %x
    outputs %y
  }), output_shapes: ([?,2])} -> float32[?,2]
  inputs %index, %x
  outputs %y
}"""


def test_global_means_the_functions_of_loops_and_branches_too() -> None:
    model = Model(_sharing(parse(BRANCHES)), {})
    outcome = prune_magnitude.run_model(model, {"scope": "global"})
    weights = {node.name: node.tensor for node in all_nodes(outcome.model.graph) if node.op == "Const"}
    assert weights["w"] is weights["u"]
    # Half of the eight: a weight that two branches share counts once.
    assert not weights["w"].array.any() and weights["v"] is model.graph["v"].tensor
    assert any("shared by 2 layers" in finding.message for finding in outcome.findings)
    assert Scales().row("pruned", outcome.model).parameters == 8


def test_a_function_is_left_out_by_its_place() -> None:
    model = Model(parse(BRANCHES), {})
    outcome = prune_magnitude.run_model(model, {"exclude": ("y/branches/0/*",)})
    found = {finding.node: finding.done for finding in outcome.findings}
    assert found == {"y/branches/0/w": False, "y/branches/1/u": True, "v": True}


def _sharing(graph: Graph) -> Graph:
    """With one tensor in both branches."""
    weights = [node.tensor for node in all_nodes(graph) if node.name in ("w", "u")]

    def change(function: Graph, _: str) -> Graph:
        nodes = [node.with_attrs(value=weights[0]) if node.name in ("w", "u") else node for node in function]
        return replace(function, nodes=tuple(nodes))

    return innermost_first(graph, change)
