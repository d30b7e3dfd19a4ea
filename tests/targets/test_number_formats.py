"""Number formats that need no samples, on whole models, from the recipe to what TensorFlow answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tests import models
from tests.conftest import Builder
from tests.targets.on_grids import drawn
from tfopt.fidelity import check_contract
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import DType, Model
from tfopt.pipeline import PipelineResult, run_pipeline
from tfopt.recipe import load_recipe, parse_recipe
from tfopt.runtimes.base import signatures_of
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.targets.native import write_native_saved_model
from tfopt.targets.onnx import write_onnx
from tfopt.targets.saved_model import write_saved_model

#: The step, and how far outputs may be off, of their largest.
FORMATS = {"to_bfloat16": 0.03, "store_float16": 0.002, "quantize_weights": 0.03, "quantize_dynamic": 0.05}
MODELS = [models.cnn_with_batch_norm, models.transformer, models.lstm]


def inputs_of(model: Model, key: str, count: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    found = {}
    for name, info in signatures_of(model)[key].inputs.items():
        dims = [count if dim is None else dim for dim in info.type.shape.dims or ()]
        is_float = info.type.dtype.is_floating
        found[name] = rng.standard_normal(dims).astype(np.float32) if is_float else rng.integers(0, 20, dims, np.int32)
    return found


def with_step(model: Model, step: str) -> PipelineResult:
    return run_pipeline(model, parse_recipe(f"name: t\nsteps: [{{include: exact}}, {step}]", "test"))


@pytest.mark.parametrize("step", FORMATS)
@pytest.mark.parametrize("builder", MODELS, ids=lambda builder: str(builder.__name__))
def test_whole_models(builder: Builder, step: str, built: Callable[[Builder], Path], tmp_path: Path) -> None:
    model = read_saved_model(built(builder))
    result = with_step(model, step).model
    write = write_native_saved_model if result.graph.grids else write_saved_model
    key = next(iter(model.signatures))
    with ModelRunner(model) as first, TensorFlowRuntime(write(result, tmp_path / "model").path, threads=2) as second:
        check_contract(first.signatures, second.signatures)
        for count in (1, 5):
            inputs = inputs_of(model, key, count)
            expected, found = first.run(key, inputs), second.run(key, inputs)
            for name, array in expected.items():
                assert found[name].dtype == array.dtype
                np.testing.assert_allclose(found[name], array, rtol=0, atol=FORMATS[step] * np.abs(array).max())


def test_bfloat16_stays_from_layer_to_layer(built: Callable[[Builder], Path]) -> None:
    result = with_step(read_saved_model(built(models.cnn_with_batch_norm)), "to_bfloat16").model
    assert len(result.graph.by_op["Cast"]) <= 3
    halves = [node for node in result.graph if node.outputs and node.outputs[0].dtype is DType.BFLOAT16]
    assert {"Conv2D", "DepthwiseConv2dNative", "Relu"} <= {node.op for node in halves}


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64], ids=lambda dtype: str(dtype.name))
@pytest.mark.parametrize("step", FORMATS)
def test_models_of_other_floats_are_left_alone_and_told_of(step: str, dtype: tf.DType) -> None:
    weight = np.random.default_rng(0).standard_normal((128, 128))

    def draw(x: tf.Tensor) -> tf.Tensor:
        y = tf.matmul(tf.cast(x, dtype), tf.constant(weight, dtype))
        return tf.cast(tf.matmul(y, tf.constant(weight, dtype)), tf.float32)

    model = drawn(draw, {"x": np.zeros((2, 128), np.float32)})
    result = run_pipeline(model, parse_recipe(f"name: t\nsteps: [{step}]", "test"))
    assert result.model is model
    findings = [finding for row in result.ledger for finding in row.findings]
    assert not any(finding.done for finding in findings)
    if step != "store_float16":
        assert sum(dtype.name in finding.message for finding in findings) == 2


def test_onnx_holds_integer_weights_and_computes_the_same(built: Callable[[Builder], Path], tmp_path: Path) -> None:
    decided = with_step(read_saved_model(built(models.cnn_with_batch_norm)), "quantize_weights").model
    path = write_onnx(decided, tmp_path / "model.onnx").path
    key = next(iter(decided.signatures))
    inputs = inputs_of(decided, key, 3)
    with ModelRunner(decided) as first, ONNXRuntime(path) as second:
        expected, found = first.run(key, inputs), second.run(key, inputs)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-4 * np.abs(array).max())


def test_other_artifacts_are_made_of_float_weights() -> None:
    for name in ("float16", "dynamic"):
        steps = [item.step.name for item in load_recipe(name)]
        assert steps.index("tflite") == len(steps) - 2
