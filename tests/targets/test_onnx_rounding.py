"""Values, tables and weights on grids in ONNX files, each by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.targets import ir_models
from tests.targets.conftest import tree
from tests.targets.on_grids import calibrated
from tests.targets.onnx_cases import (
    ALL,
    IMAGE,
    NONE,
    ROWS,
    initializers,
    ops_of,
    run,
)
from tfopt.errors import ConversionError
from tfopt.ir import Model, Value
from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.ir.text import parse
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.onnx import write_onnx

TWO_OF_A_MATRIX = """
graph {
  %x = Placeholder() {dtype: float32, shape: [?,32]} -> float32[?,32]
  %z = Placeholder() {dtype: float32, shape: [?,32]} -> float32[?,32]
  %w = Const() {dtype: float32, value: float32[32,64] random(1)} -> float32[32,64]
  %from_x = MatMul(%x, %w) {T: float32} -> float32[?,64]
  %y = Relu(%from_x) {T: float32} -> float32[?,64]
  %from_z = MatMul(%z, %w) {T: float32} -> float32[?,64]
  %twice = AddV2(%y, %y) {T: float32} -> float32[?,64]
  inputs %x, %z
  outputs %y, %twice, %from_z
}
"""


def two_of_a_matrix() -> Model:
    """`y` is an output, and read; the matrix belongs to two signatures."""
    signatures = {"serving_default": ({"x": "x"}, {"y": 0, "twice": 1}), "other": ({"z": "z"}, {"y": 2})}
    model = ir_models.model_of(parse(TWO_OF_A_MATRIX), signatures)
    rows = {"x": ROWS, "z": ROWS}
    return calibrated(model, rows, ["x", "y", "z", "from_z"])


def test_signatures_share_the_integers(tmp_path: Path) -> None:
    model = two_of_a_matrix()
    path = write_onnx(model, tmp_path / "m.onnx").path
    assert sorted(tree(tmp_path)) == ["m.onnx", "m.onnx.data", "m.other.onnx"]
    assert (tmp_path / "m.onnx.data").stat().st_size == 32 * 64
    with ONNXRuntime(path) as runtime, ModelRunner(with_fake_quant(model)) as reference:
        for key, inputs in {"serving_default": {"x": ROWS}, "other": {"z": ROWS}}.items():
            found, expected = runtime.run(key, inputs), reference.run(key, inputs)
            for name in expected:
                np.testing.assert_allclose(found[name], expected[name], atol=0.2)
        found = runtime.run("serving_default", {"x": ROWS})
    grid = model.graph.grids[Value("y")]
    np.testing.assert_allclose(found["y"], grid.snapped(found["y"]), atol=1e-6)
    np.testing.assert_array_equal(found["twice"], found["y"] + found["y"])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("zero", [0, 9])
@pytest.mark.parametrize("axes", [(), (0,), (1,)])
def test_rows_of_a_table_are_taken_before_they_are_reals(
    axes: tuple[int, ...], zero: int, axis: int, tmp_path: Path
) -> None:
    dims = "?,?,48" if axis == 0 else "64,?,?"
    graph = parse(
        f"""
        graph {{
          %x = Placeholder() {{dtype: int32, shape: [?,?]}} -> int32[?,?]
          %w = Const() {{dtype: float32, value: float32[64,48] random(1)}} -> float32[64,48]
          %axis = Const() {{dtype: int32, value: int32[] {axis}}} -> int32[]
          %y = GatherV2(%w, %x, %axis) {{Tparams: float32, Tindices: int32, Taxis: int32}} -> float32[{dims}]
          inputs %x
          outputs %y
        }}
        """
    )
    table = graph["w"].tensor.array
    largest = np.abs(table).max(axis=tuple(other for other in (0, 1) if other not in axes)) if axes else 3.0
    grid = replace(symmetric(largest, axes=axes), narrow=not zero, zero_point=zero)
    graph = ir_models.with_grids(graph, {Value("w"): grid})
    path = write_onnx(ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0})}), tmp_path / "m.onnx").path
    assert {array.dtype for array in initializers(path).values() if array.size > 64} == {np.dtype(np.int8)}
    x = np.array([[3, 0, 47], [1, 1, 5]], np.int32)
    for level in (NONE, ALL):
        np.testing.assert_allclose(run(path, x, ["y"], level)[0], grid.snapped(table).take(x, axis), rtol=1e-6)
    assert ops_of(path)[0] == "Gather"


def test_a_filter_with_scales_along_two_axes_may_have_other_readers(tmp_path: Path) -> None:
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?,8,8,4]} -> float32[?,8,8,4]
          %w = Const() {dtype: float32, value: float32[3,3,4,2] random(1)} -> float32[3,3,4,2]
          %y = DepthwiseConv2dNative(%x, %w) {T: float32, strides: (1, 1, 1, 1), padding: "SAME"} -> float32[?,8,8,8]
          %z = Neg(%w) {T: float32} -> float32[3,3,4,2]
          inputs %x
          outputs %y, %z
        }
        """
    )
    model = ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0, "z": 1})})
    model = calibrated(model, {"x": IMAGE}, ["x", "y"])
    weight = model.graph["w"].tensor.array
    path = write_onnx(model, tmp_path / "m.onnx").path
    np.testing.assert_allclose(run(path, IMAGE, ["z"], NONE)[0], -weight, rtol=1e-6)
    assert {array.dtype for array in initializers(path).values() if array.size == weight.size} == {np.dtype(np.int8)}


def one_layer(bias: list[float], last: float) -> Model:
    """x [?,2] -> y [?,2]; the second column of the matrix is `last` times that of ones."""
    graph = parse(
        f"""
        graph {{
          %x = Placeholder() {{dtype: float32, shape: [?,2]}} -> float32[?,2]
          %w = Const() {{dtype: float32, value: float32[2,2] [[1.0, {last}], [1.0, {last}]]}} -> float32[2,2]
          %b = Const() {{dtype: float32, value: float32[2] {bias}}} -> float32[2]
          %product = MatMul(%x, %w) {{T: float32}} -> float32[?,2]
          %y = BiasAdd(%product, %b) {{T: float32}} -> float32[?,2]
          inputs %x
          outputs %y
        }}
        """
    )
    grids = {
        Value("x"): affine(0, 2.55),
        Value("w"): symmetric(np.array([1.0, last]), axes=(1,)),
        Value("y"): affine(-2.55, 2.55),
    }
    graph = replace(graph, grids=grids)
    snapped = grids[Value("w")].snapped(graph["w"].tensor.array)
    assert np.allclose(snapped, graph["w"].tensor.array)
    return ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0})})


@pytest.mark.parametrize("last", [0.0, 1e-9])
def test_a_bias_is_kept_where_weights_are_nothing(last: float, tmp_path: Path) -> None:
    path = write_onnx(one_layer([0.25, 0.313], last), tmp_path / "m.onnx").path
    assert "Gemm" in ops_of(path)
    for level in (NONE, ALL):
        found = run(path, np.array([[0.5, 0.75]], np.float32), ["y"], level)[0]
        np.testing.assert_allclose(found, [[1.5, 0.313]], atol=0.0101)


def echo(grid: Grid) -> Model:
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?,3]} -> float32[?,3]
          inputs %x
          outputs %x
        }
        """
    )
    return ir_models.model_of(replace(graph, grids={Value("x"): grid}), {"serving_default": ({"x": "x"}, {"y": 0})})


@pytest.mark.parametrize(
    "grid",
    [affine(0, 6), affine(-1, 3), affine(-1, 3, signed=True), affine(-1, 3, bits=7), affine(0, 3, bits=4),
     symmetric(2.0), symmetric(2.0, bits=5), affine(-1, 3, bits=16), affine(-1, 3, bits=12), symmetric(2.0, bits=16)],
    ids=str,
)  # fmt: skip
def test_every_grid_of_a_scale_is_rounded_to(grid: Grid, tmp_path: Path) -> None:
    path = write_onnx(echo(grid), tmp_path / "m.onnx", opset=22).path
    x = np.random.default_rng(1).uniform(grid.low - 1, grid.high + 1, (400, 3)).astype(np.float32)
    steps = x.astype(np.float64) / grid.scale
    x = np.where(np.abs(steps - np.floor(steps) - 0.5) > 0.02, x, np.float32(0))
    for level in (NONE, ALL):
        found = run(path, x, ["y"], level)[0]
        beyond = grid.narrow and grid.bits in (8, 16)
        expected = np.where(x < grid.low, grid.low - grid.scale, grid.snapped(x)) if beyond else grid.snapped(x)
        near = (x > grid.low) | (x < grid.low - grid.scale) if beyond else np.full(x.shape, True)
        np.testing.assert_allclose(found[near], expected[near], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        (affine(-1, 3, bits=9), "node x.*9 bits, and ONNX has more than 8 from opset 21 on"),
        (symmetric(np.ones(3), axes=(1,)), "node x.*a scale for each channel"),
    ],
)
def test_grids_that_the_file_cannot_have_are_refused(grid: Grid, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=why):
        write_onnx(echo(grid), tmp_path / "m.onnx")


def test_a_value_in_a_branch_is_rounded(tmp_path: Path) -> None:
    model = ir_models.rounded_branch()
    x = np.array([0.75, -2.25], np.float32)
    with ONNXRuntime(write_onnx(model, tmp_path / "m.onnx").path) as runtime:
        found = [runtime.run("serving_default", {"x": x, "up": np.array(up)})["y"].tolist() for up in (True, False)]
    assert found == [[0.75, 0.0], [-1.0, 2.0]]
