"""Masks by block and by pattern, on weights of every layout."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import linear
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import UNKNOWN_SHAPE, DType, Tensor, TensorType
from tfopt.passes.prune_magnitude import prune_magnitude
from tfopt.passes.sparsity import Matrix, mask_of_every, masks, parse_block, parse_pattern


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
        prune_magnitude.run(Graph(()), {"pattern": "2:4", **options})
