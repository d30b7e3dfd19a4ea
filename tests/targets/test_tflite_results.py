"""Results of integer layers in .tflite files: their grids, integers at the edges, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.targets.gridded import drawn, gridded
from tests.targets.tflite_cases import (
    IMAGES,
    TEXTS,
    network,
    one_scale,
    rows,
)
from tfopt.data import Samples
from tfopt.errors import ConversionError
from tfopt.ir import Tensor, Value
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.grid import symmetric
from tfopt.learn.observe import SampleStatistics
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.tflite import write_tflite
from tfopt.targets.tflite_lowering.results import with_result_grids


def statistics(x: np.ndarray) -> SampleStatistics:
    return SampleStatistics({DEFAULT_SIGNATURE: Samples({"x": x}, "file", "drawn for a test")})


def test_integers_at_the_edges_and_a_result_without_a_grid(tmp_path: Path) -> None:
    """The samples give the result a grid. Without them it would be float, and refused at the edge."""
    model = gridded(drawn(one_scale, IMAGES), IMAGES, offsets=["x"], floats=["y"])
    written = write_tflite(
        model,
        tmp_path / "model.tflite",
        precision="int8",
        inference_input_type="int8",
        inference_output_type="int8",
        statistics=statistics(IMAGES),
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


def streams(x: tf.Tensor) -> tf.Tensor:
    """A product with a channel that is two hundred times as large as the others, as transformers have."""
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((16, 12)).astype(np.float32)
    bias = rng.standard_normal(12).astype(np.float32)
    weight[:, 3], bias[3] = weight[:, 3] * 200, bias[3] * 200
    made = tf.nn.bias_add(tf.matmul(x, weight), bias, name="streamed")
    return tf.tanh(made, name="y")


def test_a_channel_that_is_far_larger_leaves_the_others_their_steps(tmp_path: Path) -> None:
    x = np.random.default_rng(6).standard_normal((64, 16)).astype(np.float32)
    model = gridded(drawn(streams, x), x, floats=["streamed", "y"])
    written = write_tflite(model, tmp_path / "model.tflite", precision="int8", statistics=statistics(x))
    evened = with_result_grids(model, statistics(x)).graph
    assert evened.producer(evened["y"].inputs[0]).op == "Mul"
    with LiteRTRuntime(written.path) as runtime, ModelRunner(with_fake_quant(model)) as reference:
        found = runtime.run(DEFAULT_SIGNATURE, {"x": x})["y"]
        expected = reference.run(DEFAULT_SIGNATURE, {"x": x})["y"]
    others = np.arange(12) != 3
    # One scale for all would be as coarse as these channels are wide: their tanh would be 0 or 1.
    assert np.abs(found - expected)[:, others].max() < 0.08


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
