from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.errors import InvalidModel
from tfopt.ir import Value
from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.ir.text import parse, to_text
from tfopt.ir.verify import problems, verify

ENDS = st.floats(-1e6, 1e6, width=32)
BITS = st.integers(2, 16)


@given(ENDS, ENDS, BITS, st.booleans())
def test_an_affine_grid_holds_zero_and_its_ends(one: float, other: float, bits: int, signed: bool) -> None:
    low, high = min(one, other), max(one, other)
    grid = affine(low, high, bits=bits, signed=signed)
    assert grid.problem(()) is None
    assert grid.snapped(np.zeros(1)) == 0
    if max(abs(low), abs(high)) > 1e-6:
        ends = np.array([min(low, 0.0), max(high, 0.0)])
        assert np.abs(grid.snapped(ends) - ends).max() <= grid.scale * 0.5001 + 1e-5 * np.abs(ends).max()


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=5), BITS, st.integers(0, 2**32 - 1))
def test_what_lies_on_a_grid_stays(largest: list[float], bits: int, seed: int) -> None:
    grid = symmetric(np.array(largest), bits=bits, axes=(1,))
    assert grid.problem((3, len(largest))) is None
    array = np.random.default_rng(seed).uniform(-2, 2, (3, len(largest))) * largest
    snapped = grid.snapped(array)
    assert np.array_equal(grid.snapped(snapped), snapped)
    within = np.abs(array) <= largest
    assert (np.abs(snapped - array)[within] <= (np.abs(np.array(grid.scales)) * 0.501 + 0 * array)[within]).all()
    assert grid.levels(array).min() >= -(2 ** (bits - 1)) + 1


def test_scales_along_two_axes_go_with_the_first_slowest() -> None:
    grid = Grid((1.0, 2.0, 3.0, 4.0), axes=(1, 2))
    assert grid.reals(np.ones((1, 2, 2))).tolist() == [[[1.0, 2.0], [3.0, 4.0]]]
    with pytest.raises(TypeError, match="each channel"):
        _ = grid.scale


@pytest.mark.parametrize(
    ("grid", "shape", "problem"),
    [
        (Grid((1.0,), bits=1), (), "1 bits"),
        (Grid((1.0,), zero_point=3, narrow=True), (), "its zero is 0"),
        (Grid((1.0,), zero_point=-1, signed=False), (), "none of its levels, 0 to 255"),
        (Grid((0.0,)), (), "0.0 is no scale"),
        (Grid((float("inf"),)), (), "inf is no scale"),
        (Grid((1.0, 1.0)), (2,), "2 scales, and no axis"),
        (Grid((1.0, 1.0), axes=(1,)), (2,), "no axes (1,)"),
        (Grid((1.0, 1.0), axes=(0,)), (3,), "2 scales for 3 channels"),
        (Grid((1.0, 1.0), axes=(0,)), None, "in the shape None"),
    ],
)
def test_what_is_no_grid(grid: Grid, shape: tuple[int, ...] | None, problem: str) -> None:
    assert problem in str(grid.problem(shape))


TEXT = """graph {
  %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
  %w = Const() {dtype: float32, value: float32[2,2] [[0.5, 0.25], [1.0, -0.5]]} -> float32[2,2]
  %y = MatMul(%x, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  inputs %x
  outputs %y
  grid %w {axes: (1), bits: 8, narrow: true, scales: float32[2] [0.5, 0.25], signed: true, zero_point: 0}
  grid %x {axes: (), bits: 8, narrow: false, scales: float32[1] [0.125], signed: false, zero_point: 3}
}
"""


def test_grids_are_printed_and_read() -> None:
    graph = parse(TEXT)
    assert to_text(graph) == TEXT
    assert graph.grids[Value("x")].zero_point == 3
    verify(graph)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("grid %x", "grid %z", "%z, which has a grid, does not exist"),
        ("[0.125]", "[-1.0]", "the grid of %x: -1.0 is no scale"),
        ("[0.5, 0.25],", "[0.3, 0.25],", "%w does not lie on its grid"),
    ],
)
def test_a_graph_with_a_wrong_grid_is_broken(old: str, new: str, problem: str) -> None:
    assert problem in list(problems(parse(TEXT.replace(old, new))))


def test_a_wrong_grid_is_told_with_its_line() -> None:
    with pytest.raises(InvalidModel, match="line 7"):
        parse(TEXT.replace("axes: (1), ", "axis: 1, "))
