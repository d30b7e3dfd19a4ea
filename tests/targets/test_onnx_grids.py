"""Structures of networks on grids in ONNX files: what is an integer, and what ONNX Runtime makes of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tensorflow as tf

from tests.targets import ir_models
from tests.targets.on_grids import calibrated, drawn
from tests.targets.onnx_cases import (
    ALL,
    CASES,
    FLOAT,
    IMAGE,
    NONE,
    ROWS,
    conv,
    dense,
    gridded,
    initializers,
    ops_of,
    run,
)
from tfopt.ir import Value
from tfopt.ir.grid import affine
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.onnx import write_onnx


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_fake_quant_does_up_to_one_step(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = gridded(case)
    path = write_onnx(model, tmp_path / "m.onnx").path
    for x in (case.x, *([] if case.batch else [case.x[:8]])):
        with ModelRunner(with_fake_quant(model)) as runner:
            expected = runner.run("serving_default", {"x": x})
        for level, precise in ((NONE, False), (ALL, True), (ALL, False)):
            answers = run(path, x, list(expected), level, precise)
            for array, value, found in zip(expected.values(), model.graph.outputs, answers, strict=True):
                assert np.abs(found - array).max() <= model.graph.grids[value].scale * 1.001
    found = ops_of(tmp_path / "optimized.onnx")
    assert {op: found.count(op) for op in case.integers} == case.integers
    assert set(found) & FLOAT <= case.left


def test_unoptimised_only_halves_are_rounded_another_way(tmp_path: Path) -> None:
    """One layer each, so that nothing adds up. The bias is rounded too, so that a number near a half may pass it."""
    for place, (draw, x) in enumerate([(lambda x: conv(x, 3, 16, "y"), IMAGE), (lambda x: dense(x, 64, "y"), ROWS)]):
        model = calibrated(drawn(draw, {"x": x}), {"x": x}, ["x", "y"])
        path = write_onnx(model, tmp_path / f"{place}.onnx").path
        with ModelRunner(with_fake_quant(model)) as runner:
            expected = runner.run("serving_default", {"x": x})["y0"]
        scale = model.graph.grids[Value("y")].scale
        assert np.mean(np.abs(run(path, x, ["y0"], NONE)[0] - expected) > scale / 2) < 0.005


@pytest.mark.parametrize("name", CASES)
def test_no_weight_of_a_layer_on_grids_is_a_float(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = write_onnx(gridded(case), tmp_path / "m.onnx").path
    graph, arrays = onnx.load(path).graph, initializers(path)
    made = {output: node for node in graph.node for output in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm")]
    assert layers
    for node in layers:
        for place, (names, dtype) in enumerate(zip(node.input[1:], ("int8", "int32"), strict=False)):
            source = made[names]
            assert source.op_type == "DequantizeLinear"
            levels, scales, zeros = (arrays[name] for name in source.input)
            assert levels.dtype == zeros.dtype == dtype
            assert not zeros.any()
            axis = 0 if node.op_type == "Conv" or place else 1
            assert [(a.name, a.i) for a in source.attribute] == [("axis", axis)]
            assert scales.shape == zeros.shape == (levels.shape[axis],)
    floats = {name: array for name, array in arrays.items() if array.dtype == np.float32}
    assert max(array.size for array in floats.values()) <= 96, "scales, and what belongs to no layer"


def test_a_note_tells_of_convolutions_that_stay_in_floats(tmp_path: Path) -> None:
    model = gridded(CASES["residual sums"])
    assert write_onnx(model, tmp_path / "whole.onnx").notes == ()
    for number, names in enumerate(["e", "eg"]):
        grids = {value: grid for value, grid in model.graph.grids.items() if value.node not in names}
        lacking = model.with_graph(replace(model.graph, grids=grids))
        artifact = write_onnx(lacking, tmp_path / f"{number}.onnx")
        assert len(artifact.notes) == 1
        assert re.search(rf": {len(names)} \(\w+{', ...' if number else ''}\)$", artifact.notes[0])
        run(artifact.path, IMAGE, ["y0", "y1"], ALL)
        assert ops_of(tmp_path / "optimized.onnx").count("QLinearConv") == 5 - len(names)


def test_weights_take_a_quarter(tmp_path: Path) -> None:
    def draw(x: tf.Tensor) -> tf.Tensor:
        return dense(tf.nn.relu(dense(x, 512, "before_a"), name="a"), 256, "y")

    x = ir_models.normal(4, 256)
    model = drawn(draw, {"x": x})
    plain = write_onnx(model, tmp_path / "plain.onnx").path.stat().st_size
    small = write_onnx(calibrated(model, {"x": x}, ["x", "a", "y"]), tmp_path / "small.onnx").path.stat().st_size
    assert 0.25 < small / plain < 0.27


def test_seven_bits_are_int8_within_63(tmp_path: Path) -> None:
    path = write_onnx(gridded(CASES["conv and relu"], bits=7), tmp_path / "m.onnx").path
    levels = [array for array in initializers(path).values() if array.dtype == np.int8 and array.ndim == 4]
    assert [(array.min() >= -63, array.max() <= 63, np.abs(array).max()) for array in levels] == [(True, True, 63)] * 2
    run(path, IMAGE, ["y0"], ALL)
    assert ops_of(tmp_path / "optimized.onnx").count("QLinearConv") == 2


def test_a_clip_stays_where_the_grid_goes_on(tmp_path: Path) -> None:
    model = gridded(CASES["depthwise and relu6"])
    ops = ops_of(write_onnx(model, tmp_path / "m.onnx").path)
    assert "Clip" not in ops, "to round is to clip"
    wide = model.with_graph(replace(model.graph, grids={**model.graph.grids, Value("a"): affine(0, 8)}))
    assert ops_of(write_onnx(wide, tmp_path / "wide.onnx").path).count("Clip") == 1


def test_what_runtimes_fuse_stays_apart_where_it_is_rounded_within(tmp_path: Path) -> None:
    def draw(x: tf.Tensor) -> tf.Tensor:
        return tf.multiply(x * 0.5, tf.add(1.0, tf.math.erf(x * np.float32(np.sqrt(0.5))), name="within"), name="y")

    model = drawn(draw, {"x": ROWS})
    assert "Gelu" in ops_of(write_onnx(model, tmp_path / "plain.onnx", opset=20).path)
    model = calibrated(model, {"x": ROWS}, ["x", "within", "y"])
    path = write_onnx(model, tmp_path / "m.onnx", opset=20).path
    assert "Gelu" not in ops_of(path)
    assert ops_of(path).count("QuantizeLinear") == 3
