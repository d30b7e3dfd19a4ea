"""Every element type that TensorFlow can serve, from the original through the exact recipe into both loaders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests import models
from tfopt.compression import compress
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import DType, Shape
from tfopt.runtimes.tensorflow import TensorFlowRuntime

#: TensorFlow has variables of all of these on a CPU, but no operation on 4 bits besides Cast.
SERVED = [dtype for dtype in DType if dtype not in (DType.RESOURCE, DType.VARIANT, DType.QINT16, DType.QUINT16)]


def held(dtype: DType, *numbers: int) -> np.ndarray:
    if dtype is DType.STRING:
        return np.array([str(number).encode() for number in numbers], object)
    return np.array(numbers).astype(array_dtype(dtype))


def every_type(directory: Path) -> Path:
    """An input, a variable and an output of each type, and an input of any rank."""
    module = tf.Module()
    held_in = {dtype: _variable(dtype) for dtype in SERVED}
    module.kept = list(held_in.values())
    specs = [tf.TensorSpec([None], dtype.value, f"in_{dtype}") for dtype in SERVED]

    @tf.function(input_signature=[*specs, tf.TensorSpec(None, tf.float64, "any")])
    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        made = {f"out_{dtype}": _joined(x, held_in[dtype]) for dtype, x in zip(SERVED, inputs, strict=False)}
        return {**made, "any": tf.exp(inputs[-1]) * 1.0, "rank": tf.rank(inputs[-1])}

    return models.save(module, directory, serving_default=serve)


def _variable(dtype: DType) -> tf.Variable:
    array = held(dtype, 0, 1, 1)
    if dtype.value.startswith("q"):
        return tf.Variable(tf.bitcast(tf.constant(array), dtype.value))
    return tf.Variable(tf.constant(array, dtype.value))


def _joined(x: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
    if x.dtype.name in ("int4", "uint4"):
        return tf.cast(tf.cast(x, tf.int32) + tf.cast(variable, tf.int32)[1:2], x.dtype)
    return tf.raw_ops.ConcatV2(values=[x, variable.read_value()], axis=0)


def test_all_of_them(tmp_path: Path) -> None:
    path = every_type(tmp_path / "m")
    feed = {f"in_{dtype}": held(dtype, 1, 0) for dtype in SERVED} | {"any": np.ones((2, 1, 3))}
    model = read_saved_model(path)
    signature = model.signatures["serving_default"]
    assert signature.inputs["any"].type.shape == Shape(None)
    assert [signature.inputs[f"in_{dtype}"].type.dtype for dtype in SERVED] == SERVED
    compressed = compress(path, tmp_path / "out").path
    with TensorFlowRuntime(path) as original, TensorFlowRuntime(compressed) as written:
        expected, got = original.run("serving_default", feed), written.run("serving_default", feed)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        assert got[name].tolist() == array.tolist()
    loaded = tf.saved_model.load(str(compressed)).signatures["serving_default"]
    assert sorted(loaded.structured_outputs) == sorted(expected)
