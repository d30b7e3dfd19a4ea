"""Grids in ONNX files: what is rounded, what is an integer, and what ONNX Runtime makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from onnx import numpy_helper
from onnxruntime import GraphOptimizationLevel

from tests.targets import ir_models
from tests.targets.conftest import tree
from tests.targets.on_grids import calibrated, drawn
from tfopt.errors import ConversionError
from tfopt.ir import Model, Value
from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.ir.text import parse
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.onnx import write_onnx

raw = tf.raw_ops
ALL, NONE = GraphOptimizationLevel.ORT_ENABLE_ALL, GraphOptimizationLevel.ORT_DISABLE_ALL
IMAGE = ir_models.normal(3, 8, 8, 4)
ROWS = ir_models.normal(16, 32)


def weights(*shape: int, seed: int = 3) -> tf.Tensor:
    return tf.constant(ir_models.normal(*shape, seed=seed) / np.sqrt(np.prod(shape[:-1]), dtype=np.float32))


def conv(x: tf.Tensor, size: int, channels: int, name: str, stride: int = 1, seed: int = 4) -> tf.Tensor:
    made = tf.nn.conv2d(x, weights(size, size, x.shape[-1], channels, seed=seed), stride, "SAME")
    return tf.nn.bias_add(made, weights(channels), name=name)


def dense(x: tf.Tensor, units: int, name: str, transposed: bool = False, seed: int = 3) -> tf.Tensor:
    matrix = weights(units, x.shape[-1]) if transposed else weights(x.shape[-1], units, seed=seed)
    return tf.nn.bias_add(tf.matmul(x, matrix, transpose_b=transposed), weights(units, seed=5), name=name)


def conv_relu(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu(conv(x, 3, 16, "before_a", 2), name="a")
    return [tf.nn.relu(conv(a, 1, 24, "before_b"), name="b")]


def depthwise_relu6(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu6(conv(raw.Mul(x=x, y=4.0, name="m"), 1, 8, "before_a"), name="a")
    made = tf.nn.depthwise_conv2d(a, weights(3, 3, 8, 2), [1, 2, 2, 1], "SAME")
    return [tf.nn.relu6(tf.nn.bias_add(made, weights(16)), name="b")]


def residual(x: tf.Tensor) -> list[tf.Tensor]:
    a = conv(x, 1, 4, "a")
    added = conv(tf.nn.relu(conv(a, 1, 8, "before_b"), name="b"), 3, 4, "c")
    total = raw.AddV2(x=a, y=added, name="d")
    other = tf.nn.relu(raw.AddV2(x=total, y=conv(total, 1, 4, "e", seed=6)), name="f")
    return [conv(total, 1, 6, "g"), other]


def pools(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu(conv(x, 3, 8, "before_a"), name="a")
    largest = tf.nn.max_pool2d(a, 3, 2, "SAME", name="m")
    mean = tf.nn.avg_pool2d(a, 2, 2, "SAME", name="v")
    return [conv(tf.concat([largest, mean], 3, name="k"), 1, 6, "b")]


def padded(x: tf.Tensor) -> list[tf.Tensor]:
    a = conv(x, 3, 8, "a")
    margins = [[0, 0], [1, 1], [0, 1], [0, 0]]
    zeros = raw.Pad(input=a, paddings=margins, name="p")
    ones = raw.PadV2(input=a, paddings=margins, constant_values=1.0, name="q")
    return [tf.nn.max_pool2d(zeros, 3, 2, "VALID", name="m"), conv(ones, 1, 6, "b")]


def head(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu(conv(x, 3, 8, "before_a"), name="a")
    return [dense(tf.reduce_mean(a, [1, 2], name="g"), 5, "y"), dense(tf.reshape(a, [-1, 512], name="f"), 6, "z")]


def matrices(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.relu(dense(x, 24, "before_a", transposed=True), name="a")
    return [dense(a, 7, "y"), tf.matmul(a, weights(24, 9), name="z")]


def feed_forward(x: tf.Tensor) -> list[tf.Tensor]:
    """What the exact recipe makes of a transformer's: rows, layer norm, GELU."""
    centred = x - tf.reduce_mean(x, 1, keepdims=True)
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), 1, keepdims=True) + 1e-5)
    n = tf.add(centred * inverse * weights(32), weights(32), name="n")
    h = dense(n, 96, "h")
    g = tf.multiply(h * 0.5, 1.0 + tf.math.erf(h * np.float32(np.sqrt(0.5))), name="g")
    return [raw.AddV2(x=n, y=dense(g, 32, "o"), name="y")]


def attention(x: tf.Tensor) -> list[tf.Tensor]:
    rows = [dense(x, 32, name, seed=seed) for seed, name in enumerate("qkv", 6)]
    heads = [tf.transpose(tf.reshape(row, [-1, 8, 4, 8]), [0, 2, 1, 3]) for row in rows]
    found = tf.matmul(tf.nn.softmax(tf.matmul(heads[0], heads[1], transpose_b=True)), heads[2])
    c = tf.reshape(tf.transpose(found, [0, 2, 1, 3]), [-1, 32], name="c")
    return [dense(c, 32, "y")]


def transposed_conv(x: tf.Tensor) -> list[tf.Tensor]:
    a = tf.nn.conv2d_transpose(x, weights(3, 3, 6, 4), [3, 16, 16, 6], 2, "SAME", name="a")
    return [tf.nn.bias_add(tf.nn.conv2d(a, weights(3, 3, 3, 8), 1, "VALID", dilations=2), weights(8), name="y")]


@dataclass(frozen=True)
class Case:
    """A graph, the values that get a grid, those of them with a zero point within, and the ops that ONNX Runtime
    computes with integers; `left` are float ops that the decision leaves."""

    draw: Callable[..., list[tf.Tensor]]
    x: np.ndarray
    values: str
    integers: dict[str, int]
    offset: str = ""
    left: frozenset[str] = frozenset()
    batch: int | None = None


CASES = {
    "conv and relu": Case(conv_relu, IMAGE, "x a b", {"QLinearConv": 2}),
    "depthwise and relu6": Case(depthwise_relu6, IMAGE, "m a b", {"QLinearConv": 2}, left=frozenset({"Mul"})),
    "residual sums": Case(residual, IMAGE, "x a b c d e f g", {"QLinearConv": 5, "QLinearAdd": 2}, "d"),
    "pools": Case(pools, IMAGE, "x a m v k b", {"QLinearConv": 2, "QLinearAveragePool": 1, "QLinearConcat": 1}),
    "padded": Case(padded, IMAGE, "x a p q m b", {"QLinearConv": 2, "Pad": 2, "QuantizeLinear": 1}),
    "head": Case(head, IMAGE, "x a g f y z", {"QLinearConv": 1, "QLinearGlobalAveragePool": 1, "QGemm": 2}),
    "matrices": Case(matrices, ROWS, "x a y z", {"QGemm": 2, "QLinearMatMul": 1}),
    "feed forward": Case(feed_forward, ROWS, "x n g o y", {"QGemm": 2, "QLinearAdd": 1}),
    "attention": Case(attention, ROWS, "x c y", {"QGemm": 4}, left=frozenset({"MatMul", "FusedMatMul"})),
    "transposed": Case(transposed_conv, IMAGE, "x a y", {"QLinearConv": 1}, left=frozenset({"ConvTranspose"}), batch=3),
}
FLOAT = {"Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul", "FusedMatMul", "Add", "Mul", "Relu", "Clip", "Concat",
         "AveragePool", "GlobalAveragePool"}  # fmt: skip


def gridded(case: Case, bits: int = 8) -> Model:
    model = drawn(case.draw, {"x": case.x}, batch=case.batch)
    return calibrated(model, {"x": case.x}, case.values.split(), bits=bits, offset=case.offset.split())


def run(
    path: Path, x: np.ndarray, outputs: list[str], level: GraphOptimizationLevel, precise: bool = False
) -> list[np.ndarray]:
    """Beside the file it leaves what ONNX Runtime made of it, as `optimized.onnx`. `precise`: by the kernels that do
    not saturate on any processor."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", str(int(precise)))
    options.graph_optimization_level = level
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_name("optimized.onnx"))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(outputs, {"x": x})


def ops_of(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


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
