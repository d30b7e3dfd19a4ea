"""Decided grids in .tflite files: the very scales and levels, and what LiteRT computes held against FakeQuant ops.

A conversion takes seconds, so all cases are signatures of one model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from tests.targets.gridded import drawn, gridded, together
from tfopt.data import Samples
from tfopt.errors import ConversionError
from tfopt.formats.graph_def import to_graph_def
from tfopt.ir import Graph, Model, Tensor, Value
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.grid import Grid, symmetric
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.ir.verify import verify_model
from tfopt.learn.observe import SampleStatistics
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.base import Artifact
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.tflite import write_tflite
from tfopt.targets.tflite_lowering.grids import with_ranges
from tfopt.targets.tflite_lowering.results import with_result_grids

RNG = np.random.default_rng(3)
IMAGES, ROWS, TEXTS = (RNG.standard_normal(shape).astype(np.float32) for shape in ((16, 8, 8, 4), (16, 8), (4, 6, 8)))


def w(*shape: int, name: str = "weight") -> Any:
    return tf.constant(RNG.standard_normal(shape).astype(np.float32) * np.float32(0.3), name=name)


def biased(product: Any, name: str | None = None) -> Any:
    return tf.nn.bias_add(product, w(product.shape[-1], name="bias"), name=name)


def network(x: Any) -> Any:
    """Convolution, depthwise with Relu6, residual sum, both poolings, two dense layers."""
    stem = tf.nn.relu(biased(tf.nn.conv2d(x, w(3, 3, 4, 8), 1, "SAME")), name="stem")
    depthwise = tf.nn.depthwise_conv2d(stem, w(3, 3, 8, 2), [1, 2, 2, 1], "SAME")
    deep = tf.nn.relu6(biased(depthwise), name="deep")
    narrow = biased(tf.nn.conv2d(deep, w(1, 1, 16, 8), 1, "VALID"), name="narrow")
    wide = biased(tf.nn.conv2d(narrow, w(1, 1, 8, 8), 1, "VALID"), name="wide")
    total = tf.add(narrow, wide, name="sum")
    pooled = tf.nn.max_pool2d(total, 2, 2, "VALID", name="pool")
    mean = tf.reduce_mean(pooled, [1, 2], name="mean")
    hidden = tf.nn.relu(biased(tf.matmul(mean, w(8, 16))), name="hidden")
    logits = biased(tf.matmul(hidden, w(16, 5)), name="logits")
    return stem, deep, narrow, wide, total, pooled, mean, hidden, logits


def rows(x: Any) -> Any:
    """Dense layers over rows of several examples, with a residual sum."""
    first = biased(tf.raw_ops.BatchMatMulV2(x=x, y=w(8, 12)), name="first")
    second = biased(tf.raw_ops.BatchMatMulV2(x=first, y=w(12, 12)), name="second")
    return first, second, tf.add(first, second, name="y")


def weak(x: Any) -> Any:
    """Channels whose weights are zero, or so small that the bias would not fit 32 bits at their scale."""
    kernel = RNG.standard_normal((8, 8)).astype(np.float32) * np.array([0, 1e-12, 1e-17, 1e-5, 1, 1, 1, 1], np.float32)
    return tf.nn.relu(biased(tf.matmul(x, tf.constant(kernel, name="weak"))), name="y")


def weak_image(x: Any) -> Any:
    kernel = RNG.standard_normal((3, 3, 4, 5)).astype(np.float32) * np.array([0, 1e-12, 1e-17, 1e-5, 1], np.float32)
    return biased(tf.nn.conv2d(x, tf.constant(kernel, name="weak"), 1, "SAME"), name="y")


def one_scale(x: Any) -> Any:
    stem = tf.nn.relu(biased(tf.nn.conv2d(x, w(3, 3, 4, 8, name="a"), 1, "SAME")), name="stem")
    deep = tf.nn.relu(biased(tf.nn.depthwise_conv2d(stem, w(3, 3, 8, 1, name="b"), [1, 1, 1, 1], "SAME")), name="deep")
    return biased(tf.matmul(tf.reduce_mean(deep, [1, 2], name="mean"), w(8, 4, name="c")), name="y")


def left_float(x: Any) -> Any:
    stem = tf.nn.relu(biased(tf.nn.conv2d(x, w(3, 3, 4, 8), 1, "SAME")), name="stem")
    return tf.nn.relu(biased(tf.nn.conv2d(stem, w(3, 3, 8, 8, name="left"), 1, "SAME")), name="y")


def transposed(x: Any) -> Any:
    return biased(tf.nn.conv2d_transpose(x, w(3, 3, 8, 4), [16, 16, 16, 8], 2), name="y")


def softmax(x: Any) -> Any:
    return tf.nn.softmax(biased(tf.matmul(x, w(8, 4)), name="logits"), name="y")


def joined(x: Any) -> Any:
    """What has no grid beside what has one: the converter would cut the first off at the ends of the second."""
    half = tf.nn.relu(biased(tf.matmul(x, w(8, 4))), name="half")
    whole = tf.concat([half, tf.tanh(half, name="tanh"), tf.nn.relu(x - 1, name="beyond")], 1, name="whole")
    return tf.matmul(tf.nn.softmax(whole * 5, name="shares"), w(16, 4, name="last"), name="y"), tf.identity(whole)


#: The grids of one scale for a, b and c.
PLAIN = {name: symmetric(1.0) for name in "abc"}
FLOATS = ("tanh", "sub", "beyond", "whole", "mul", "shares", "last", "Identity")
OFFSETS = ("x", "narrow", "sum", "pool", "mean", "logits")
CASES: dict[str, tuple[Model, np.ndarray]] = {
    "symmetric": (gridded(drawn(network, IMAGES), IMAGES), IMAGES),
    "offsets": (gridded(drawn(network, IMAGES), IMAGES, offsets=OFFSETS), IMAGES),
    "seven_bits": (gridded(drawn(network, IMAGES), IMAGES, bits=7), IMAGES),
    "rows": (gridded(drawn(rows, TEXTS), TEXTS), TEXTS),
    "rows_of_seven_bits": (gridded(drawn(rows, TEXTS), TEXTS, bits=7), TEXTS),
    "weak": (gridded(drawn(weak, ROWS), ROWS), ROWS),
    "weak_image": (gridded(drawn(weak_image, IMAGES), IMAGES), IMAGES),
    "one_scale": (gridded(drawn(one_scale, IMAGES), IMAGES, chosen=PLAIN), IMAGES),
    "left_float": (gridded(drawn(left_float, IMAGES), IMAGES, floats=["left"]), IMAGES),
    "transposed": (gridded(drawn(transposed, IMAGES), IMAGES), IMAGES),
    "joined": (gridded(drawn(joined, ROWS), ROWS, floats=FLOATS), ROWS),
    "softmax": (gridded(drawn(softmax, ROWS), ROWS, chosen={"y": Grid((1 / 256,), signed=False)}), ROWS),
}
#: What the network returns all values of: each can be held against its layer's inputs.
WHOLE = ("symmetric", "offsets", "seven_bits", "rows", "rows_of_seven_bits")


@dataclass(frozen=True)
class Op:
    """One operator of a file, with the tensors that it reads and makes."""

    name: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


class File:
    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._file = schema.Model.GetRootAs(artifact.path.read_bytes())
        names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
        codes = map(self._file.OperatorCodes, range(self._file.OperatorCodesLength()))
        self._codes = [names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]

    def ops(self, signature: str) -> Iterator[Op]:
        definitions = map(self._file.SignatureDefs, range(self._file.SignatureDefsLength()))
        by_key = {found.SignatureKey().decode(): found.SubgraphIndex() for found in definitions}
        graph = self._file.Subgraphs(by_key[signature])
        for op in map(graph.Operators, range(graph.OperatorsLength())):
            inputs = tuple(graph.Tensors(op.Inputs(n)) for n in range(op.InputsLength()) if op.Inputs(n) >= 0)
            outputs = tuple(graph.Tensors(op.Outputs(n)) for n in range(op.OutputsLength()))
            yield Op(self._codes[op.OpcodeIndex()], inputs, outputs)

    def weights(self, signature: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Scales and levels of what the linear layers read as second input; the levels are rows of channels."""
        found = []
        for op in self.ops(signature):
            if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
                tensor = op.inputs[1]
                if tensor.Type() == schema.TensorType.INT8:
                    assert not tensor.Quantization().ZeroPointAsNumpy().any()
                    shape = [tensor.Shape(axis) for axis in range(tensor.ShapeLength())]
                    levels = self._file.Buffers(tensor.Buffer()).DataAsNumpy().view(np.int8).reshape(shape)
                    by_channel = np.moveaxis(levels, tensor.Quantization().QuantizedDimension(), 0)
                    found.append((tensor.Quantization().ScaleAsNumpy(), by_channel.reshape(len(by_channel), -1)))
        return found

    def activations(self, signature: str) -> set[tuple[float, int]]:
        """Scale and zero point of all that ops make in 8 bits."""
        made = (tensor for op in self.ops(signature) for tensor in op.outputs)
        return {
            (float(tensor.Quantization().Scale(0)), int(tensor.Quantization().ZeroPoint(0)))
            for tensor in made
            if tensor.Type() == schema.TensorType.INT8
        }

    def copies(self, payload: bytes) -> int:
        buffers = map(self._file.Buffers, range(self._file.BuffersLength()))
        return sum(found.DataLength() > 0 and found.DataAsNumpy().tobytes() == payload for found in buffers)


def everything() -> Model:
    """All cases, and a signature that shares its weights with another one."""
    model = together({case: found for case, (found, _) in CASES.items()})
    whole = model.signatures["symmetric"]
    return replace(
        model, signatures={**model.signatures, "features": replace(whole, outputs={"sum": whole.outputs["sum"]})}
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> File:
    path = tmp_path_factory.mktemp("grids") / "model.tflite"
    return File(write_tflite(everything(), path, precision="int8"))


@pytest.fixture(scope="module")
def answers(file: File) -> Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]:
    """By case what FakeQuant ops give and what LiteRT does."""
    with ModelRunner(with_fake_quant(everything())) as plain, LiteRTRuntime(file.artifact.path) as runtime:
        return {case: (plain.run(case, {"x": x}), runtime.run(case, {"x": x})) for case, (_, x) in CASES.items()}


def step_of(case: str, name: str) -> float:
    """That of the output, or of what it is computed from in floating point."""
    grids = CASES[case][0].graph.grids
    return grids.get(Value(name), grids.get(Value("half"), Grid((0.0,)))).scale


@pytest.mark.parametrize("case", CASES)
def test_litert_computes_what_fake_quant_ops_do(case: str, answers: Mapping[str, Any]) -> None:
    """One step of an output, three where it hangs on several roundings: LiteRT adds integers, FakeQuant ops see sums
    of floats, so that they may part where a value lies between two levels, and what is computed from it differs."""
    plain, found = answers[case]
    assert plain.keys() == found.keys()
    for name, expected in plain.items():
        off = np.abs(found[name] - expected) / step_of(case, name)
        assert off.max() <= (3.001 if case in WHOLE and name != "stem" else 1.001), name
        assert (off > 0.5).mean() < 0.25, name


@pytest.mark.parametrize("case", WHOLE)
def test_each_layer_is_at_most_one_step_off(case: str, answers: Mapping[str, Any]) -> None:
    """Given what LiteRT has for all other values."""
    _, found = answers[case]
    model, x = CASES[case]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(to_graph_def(with_fake_quant(model).graph), name="")
    with tf.compat.v1.Session(graph=graph) as session:
        for name, array in found.items():
            others = {f"{other}/rounded:0": value for other, value in found.items() if other != name}
            expected = session.run(f"{name}/rounded:0", {"x:0": x, **others})
            off = np.abs(array - expected) / model.graph.grids[Value(name)].scale
            assert off.max() <= 1.001, name
            assert (off > 0.5).mean() < 0.05, name


def test_what_the_converter_reads_computes_the_same() -> None:
    """Ranges of weights, filters for matrices and negated layers change no number by more than float rounding."""
    model = everything()
    lowered = with_ranges(model)
    verify_model(lowered)
    assert not lowered.graph.grids
    with ModelRunner(with_fake_quant(model)) as plain, ModelRunner(lowered) as runner:
        for case, (_, x) in CASES.items():
            expected, found = plain.run(case, {"x": x}), runner.run(case, {"x": x})
            for name, array in expected.items():
                np.testing.assert_allclose(
                    found[name], array, atol=1e-3 * step_of(case, name), err_msg=f"{case} {name}"
                )


def layers(graph: Graph) -> Iterator[tuple[Linear, Grid]]:
    for node in graph:
        layer = linear(graph, node) if node.op in LINEAR else ""
        if isinstance(layer, Linear) and layer.weight_value in graph.grids:
            yield layer, graph.grids[layer.weight_value]


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("weak")])
def test_weights_have_the_scales_and_levels_of_their_grids(case: str, file: File) -> None:
    graph = CASES[case][0].graph
    stored = file.weights(case)
    expected = list(layers(graph))
    assert len(stored) == len(expected)
    for (scales, levels), (layer, grid) in zip(stored, expected, strict=True):
        wanted = grid.scales if len(scales) == len(grid.scales) else np.repeat(grid.scales, len(scales))
        np.testing.assert_allclose(scales, wanted, rtol=2e-7)
        by_channel = np.moveaxis(grid.levels(layer.weight.array), layer.out_axes, range(len(layer.out_axes)))
        np.testing.assert_array_equal(levels.reshape(-1), by_channel.reshape(-1))
        assert np.abs(levels).max() == 2 ** (grid.bits - 1) - 1 or not grid.axes


@pytest.mark.parametrize("case", ["symmetric", "offsets", "seven_bits", "one_scale", "rows", "softmax"])
def test_activations_have_the_scales_and_zero_points_of_their_grids(case: str, file: File) -> None:
    """Levels of 0 to 255 are stored as -128 to 127. Pooling keeps the grid that it reads, a rounding follows it."""
    graph = CASES[case][0].graph
    expected = [
        (grid.scale, grid.zero_point - (0 if grid.signed else 128))
        for value, grid in graph.grids.items()
        if graph.constant(value) is None
    ]
    found = sorted(file.activations(case))
    assert [zero for _, zero in found] == [zero for _, zero in sorted(set(expected))]
    np.testing.assert_allclose([scale for scale, _ in found], [scale for scale, _ in sorted(set(expected))], rtol=2e-7)


#: Behind each of the three tensors that are joined.
BARRIERS = ["NEG", "MUL"] * 3
#: What stays float in a case: ops that were left so, and what keeps the converter from quantizing them.
LEFT = {
    "left_float": ["NEG", "CONV_2D"],
    "joined": ["SUB", "TANH", "CONCATENATION", "MUL", "SOFTMAX", "NEG", "FULLY_CONNECTED", *BARRIERS],
}


def test_all_ops_are_integer_but_those_that_were_left(file: File) -> None:
    for case in CASES:
        stayed = [
            op.name
            for op in file.ops(case)
            if op.name not in ("QUANTIZE", "DEQUANTIZE")
            and any(tensor.Type() == schema.TensorType.FLOAT32 for tensor in (*op.inputs, *op.outputs))
        ]
        assert sorted(stayed) == sorted(LEFT.get(case, [])), case
    (note,) = file.artifact.notes
    assert note.startswith("stayed float, for want of a grid or an integer kernel: ")


def test_dense_layers_are_convolutions_only_where_they_must_be(file: File) -> None:
    counts = {case: [op.name for op in file.ops(case)].count("FULLY_CONNECTED") for case in CASES}
    assert {case for case, count in counts.items() if count} == {
        *("symmetric", "offsets", "rows"),
        *("one_scale", "joined", "softmax"),
    }


def test_signatures_share_their_weights(file: File) -> None:
    layer, grid = next(layers(CASES["symmetric"][0].graph))
    levels = np.moveaxis(grid.levels(layer.weight.array), -1, 0).astype(np.int8)
    assert file.copies(levels.tobytes()) == 1
    with LiteRTRuntime(file.artifact.path) as runtime:
        found, whole = (runtime.run(key, {"x": IMAGES})["sum"] for key in ("features", "symmetric"))
    np.testing.assert_array_equal(found, whole)


def statistics(x: np.ndarray) -> SampleStatistics:
    return SampleStatistics({DEFAULT_SIGNATURE: Samples({"x": x}, "file", "drawn for a test")})


def test_integers_at_the_edges_and_a_result_without_a_grid(tmp_path: Path) -> None:
    """The samples give the result a grid. Without them it would be float, and refused at the edge."""
    model = gridded(drawn(one_scale, IMAGES), IMAGES, offsets=["x"], floats=["y"])
    written = write_tflite(
        model, tmp_path / "model.tflite", precision="int8", edges="int8", statistics=statistics(IMAGES)
    )
    assert written.notes == ()
    decided = with_result_grids(model, statistics(IMAGES))
    x, y = (decided.graph.grids[Value(name)] for name in "xy")
    with LiteRTRuntime(written.path) as runtime, ModelRunner(with_fake_quant(decided)) as reference:
        levels = (x.levels(IMAGES) - 128).astype(np.int8)
        found = runtime.run(DEFAULT_SIGNATURE, {"x": levels})["y"]
        expected = reference.run(DEFAULT_SIGNATURE, {"x": IMAGES})["y"]
    assert found.dtype == np.int8
    assert np.abs(y.reals(found + np.int32(128)) - expected).max() <= y.scale * 1.001


def test_results_of_integer_layers_get_grids() -> None:
    """Before a residual sum too; those of layers in floating point, and those that have one, stay."""
    graph = drawn(network, IMAGES)
    whole = gridded(graph, IMAGES)
    floats = ["wide", "sum", "hidden", "pool"]
    decided = with_result_grids(gridded(graph, IMAGES, floats=floats), statistics(IMAGES)).graph.grids
    assert decided.keys() == whole.graph.grids.keys() - {Value("sum"), Value("pool")}
    assert decided[Value("stem")] == whole.graph.grids[Value("stem")]
    assert decided[Value("hidden")].zero_point == 0
    assert decided[Value("wide")].zero_point > 0
    without_weights = gridded(graph, IMAGES, floats=["hidden", "weight_4"])
    assert with_result_grids(without_weights, statistics(IMAGES)) is without_weights


def test_a_result_that_the_samples_say_nothing_of_stays_float() -> None:
    model = gridded(drawn(rows, TEXTS), TEXTS, floats=["second"])
    dead = np.zeros_like(TEXTS)
    graph = model.graph
    biases = [node for node in graph.by_op["Const"] if node.name.startswith("bias")]
    zeros = {node.name: node.with_attrs(value=Tensor(np.zeros_like(node.tensor.array))) for node in biases}
    silent = model.with_graph(replace(graph, nodes=tuple(zeros.get(node.name, node) for node in graph)))
    assert with_result_grids(silent, statistics(dead)) is silent


def test_activations_of_other_bits_are_refused(tmp_path: Path) -> None:
    model = gridded(drawn(rows, TEXTS), TEXTS, chosen={"y": symmetric(3.0, bits=16)})
    with pytest.raises(ConversionError, match="%y: TFLite takes activations of 8 bits, and this one has 16"):
        write_tflite(model, tmp_path / "model.tflite", precision="int8")
    assert list(tmp_path.iterdir()) == []
