"""FakeQuant ops in the place of grids, run by TensorFlow and held against numpy's rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.targets import ir_models
from tfopt.errors import ConversionError
from tfopt.ir import Model, Value
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.ir.text import parse
from tfopt.ir.verify import verify_model
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant

SIZES = st.floats(2.0**-20, 2.0**20, width=32)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    largest, bits = draw(SIZES), draw(st.sampled_from([8, 7, 4]))
    kind = draw(st.sampled_from(["narrow", "positive", "offset", "signed"]))
    if kind == "narrow":
        return symmetric(largest, bits=bits)
    low = 0.0 if kind == "positive" else -largest * draw(st.floats(0, 1))
    return affine(low, largest, bits=bits, signed=kind == "signed")


def echo(grid: Grid) -> Model:
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
          inputs %x
          outputs %x
        }
        """
    )
    return ir_models.model_of(replace(graph, grids={Value("x"): grid}), {DEFAULT_SIGNATURE: ({"x": "x"}, {"y": 0})})


def rounded(grid: Grid, x: np.ndarray) -> np.ndarray:
    lowered = with_fake_quant(echo(grid))
    verify_model(lowered)
    with ModelRunner(lowered) as runner:
        return runner.run(DEFAULT_SIGNATURE, {"x": x})["y"]


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(0, 2**32 - 1))
def test_a_value_becomes_the_nearest_on_its_grid(grid: Grid, seed: int) -> None:
    """Beyond the ends too, and where it is on the grid already."""
    reach = np.array([grid.low - 3 * grid.scale, grid.high + 3 * grid.scale])
    x = np.random.default_rng(seed).uniform(*reach, 500).astype(np.float32)
    # What lies between two levels, up to what float32 can tell, may go to either.
    steps = x.astype(np.float64) / grid.scale
    x = x[np.abs(steps - np.floor(steps) - 0.5) > 1e-4]
    levels = grid.reals(np.arange(grid.lowest, grid.highest + 1))
    x = np.concatenate([x, levels, reach.astype(np.float32) * 1e3])
    np.testing.assert_allclose(rounded(grid, x), grid.snapped(x), rtol=1e-6, atol=1e-4 * grid.scale)


@pytest.mark.parametrize(
    "grid",
    [
        Grid((0.5,), narrow=True),
        Grid((0.5,), bits=7, narrow=True),
        Grid((0.5,), signed=False),
        Grid((0.5,), 77, signed=False),
        Grid((0.5,), -128),
    ],
)
def test_halves_go_up(grid: Grid) -> None:
    """Every number between two levels becomes the upper one, where numpy takes the even one."""
    levels = np.arange(grid.lowest, grid.highest)
    upper = grid.reals(levels + 1)
    between = upper - np.float32(0.25)
    assert rounded(grid, between).tolist() == upper.tolist()
    assert np.abs(grid.snapped(between) - between).max() == 0.25


LAYER = """
graph {
  %x = Placeholder() {dtype: float32, shape: [?,8]} -> float32[?,8]
  %w = Const() {dtype: float32, value: float32[8,4] random(1)} -> float32[8,4]
  %b = Const() {dtype: float32, value: float32[4] random(2)} -> float32[4]
  %product = MatMul(%x, %w) {T: float32} -> float32[?,4]
  %biased = BiasAdd(%product, %b) {T: float32} -> float32[?,4]
  %y = Relu(%biased) {T: float32} -> float32[?,4]
  %double = AddV2(%y, %y) {T: float32} -> float32[?,4]
  %unread = Neg(%y) {T: float32} -> float32[?,4]
  inputs %x
  outputs %y, %double
}
"""
GRIDS = {
    Value("x"): symmetric(2.5),
    Value("w"): symmetric(np.array([2.5, 2.0, 1.5, 3.0]), axes=(1,)),
    Value("y"): affine(0, 6.0),
    Value("double"): affine(0, 11.0),
    Value("unread"): symmetric(6.0),
}


def layer() -> Model:
    """`y` is an output and read, and so of two signatures; the input has a grid."""
    return ir_models.model_of(
        ir_models.with_grids(parse(LAYER), GRIDS),
        {"serving_default": ({"x": "x"}, {"y": 0, "double": 1}), "one": ({"x": "x"}, {"y": 0})},
    )


def test_readers_and_callers_get_the_rounded_value() -> None:
    model = layer()
    lowered = with_fake_quant(model)
    verify_model(lowered)
    assert not lowered.graph.grids
    assert lowered.signatures is model.signatures
    assert lowered.graph.inputs == ("x",)
    assert [node.name for node in lowered.graph.by_op["FakeQuantWithMinMaxArgs"]] == [
        "x/rounded",
        "y/rounded",
        "double/rounded",
    ]
    x = ir_models.normal(50, 8)
    w, b = model.graph["w"].tensor.array, model.graph["b"].tensor.array
    y = GRIDS[Value("y")].snapped(np.maximum(GRIDS[Value("x")].snapped(x) @ w + b, 0))
    with ModelRunner(lowered) as runner:
        found = runner.run("serving_default", {"x": x})
        np.testing.assert_array_equal(runner.run("one", {"x": x})["y"], found["y"])
    np.testing.assert_allclose(found["y"], y, atol=1e-5)
    np.testing.assert_allclose(found["double"], GRIDS[Value("double")].snapped(found["y"] * 2), atol=1e-5)


def test_a_value_in_a_function_is_rounded() -> None:
    lowered = with_fake_quant(ir_models.rounded_branch())
    x = np.array([0.75, -2.25], np.float32)
    with ModelRunner(lowered) as runner:
        found = [runner.run(DEFAULT_SIGNATURE, {"x": x, "up": np.array(up)})["y"].tolist() for up in (True, False)]
    assert found == [[0.75, 0.0], [-1.0, 2.0]]


def test_a_model_without_grids_stays() -> None:
    model = ir_models.layers()
    assert with_fake_quant(model) is model


def test_an_activation_with_a_scale_for_each_channel_is_refused() -> None:
    graph = parse(LAYER)
    graph = replace(graph, grids={Value("y"): symmetric(np.ones(4), axes=(1,))})
    model = ir_models.model_of(graph, {DEFAULT_SIGNATURE: ({"x": "x"}, {"y": 0})})
    with pytest.raises(ConversionError, match="%y: a value that is no constant has a scale for each channel"):
        with_fake_quant(model)
