"""A SavedModel on integers is a model like any other: loaded, inspected, profiled and compressed again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import int8_versions
from tests.conftest import Builder
from tests.targets.on_grids import drawn
from tfopt.cli.main import main
from tfopt.compression import compress
from tfopt.errors import ConversionError
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.measure.artifacts import Found
from tfopt.measure.profile import profile
from tfopt.recipe import parse_recipe
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.store import read_manifest
from tfopt.targets.onnx import write_onnx
from tfopt.targets.saved_model import write_saved_model
from tfopt.targets.tflite import write_tflite

KEY = "serving_default"
IMAGES = int8_versions.images(8, seed=3)


@pytest.fixture
def version(built: Callable[[Builder], Path]) -> Path:
    return built(int8_versions.eight_bits)


def answers(path: Path) -> dict[str, np.ndarray]:
    with TensorFlowRuntime(path) as runtime:
        return runtime.run(KEY, {"image": IMAGES})


def test_tensorflow_2_loads_and_calls_it(version: Path) -> None:
    """By the other loader than TensorFlow Serving's, with functions instead of a session."""
    loaded = tf.saved_model.load(str(version))
    expected = answers(version)
    for count in (8, 1):
        found = loaded.signatures[KEY](image=tf.constant(IMAGES[:count]))
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name].numpy(), array[:count])


def test_inspect_counts_its_ops(version: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(version), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["operations"]["_FusedQuantizedConv2D"] == 5
    assert KEY in told["signatures"]


def test_a_profile_leads_integer_ops_back_to_layers(version: Path) -> None:
    found = [Found(version, "saved_model")]
    inputs = {"image": IMAGES[:1]}
    made = profile(found, ["int8"], signature=KEY, inputs=inputs, batch_size=1, threads=1)
    layers = [op for op in made.artifacts[0].ops if op.time.op in ("_FusedQuantizedConv2D", "_QuantizedMatMul")]
    assert len(layers) == 7
    assert all(op.layers for op in layers)


def test_compressed_again_it_stays_and_keeps_what_it_requires(version: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", image=int8_versions.images(16))
    recipe = parse_recipe("name: again\nsteps: [{include: exact}, smooth, quantize]", "test")
    result = compress(version, tmp_path / "again", recipe=recipe, data=tmp_path / "images.npz")
    (artifact,) = result.artifacts
    manifest = read_manifest(version)
    assert manifest is not None
    assert list(artifact.requires) == manifest.data["artifacts"]["saved_model"]["requires"] == ["oneDNN", "VNNI"]
    (note,) = artifact.notes
    assert note.startswith("nothing became int8: already quantized: the model has ")
    for name, array in answers(version).items():
        np.testing.assert_array_equal(answers(tmp_path / "again")[name], array)


def test_tflite_and_onnx_refuse_it_by_name(version: Path, tmp_path: Path) -> None:
    model = read_saved_model(version)
    with pytest.raises(ConversionError, match=r"QuantizeV2 .*: the model computes on integers already"):
        write_tflite(model, tmp_path / "model.tflite", precision="int8")
    with pytest.raises(ConversionError, match="_FusedQuantizedConv2D"):
        write_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def narrow(dtype: Any) -> Model:
    """image float32[?,12,12,3] -> float32[?,4], computed in another dtype."""
    rng = np.random.default_rng(0)
    kernel, matrix = rng.standard_normal((3, 3, 3, 8)) * 0.2, rng.standard_normal((8, 4)) * 0.3

    def draw(image: Any) -> Any:
        hidden = tf.nn.relu(tf.nn.conv2d(tf.cast(image, dtype), tf.constant(kernel, dtype), 1, "SAME"))
        return tf.cast(tf.matmul(tf.reduce_mean(hidden, [1, 2]), tf.constant(matrix, dtype)), tf.float32)

    return drawn(draw, {"image": IMAGES})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_model_of_another_dtype_stays_as_it_is_and_says_so(dtype: str, tmp_path: Path) -> None:
    write_saved_model(narrow(tf.as_dtype(dtype)), tmp_path / "model")
    np.savez(tmp_path / "images.npz", image=int8_versions.images(16))
    recipe = parse_recipe("name: q\nsteps: [{include: exact}, smooth, quantize]", "test")
    result = compress(tmp_path / "model", tmp_path / "out", recipe=recipe, data=tmp_path / "images.npz")
    (artifact,) = result.artifacts
    assert artifact.requires == ()
    (note,) = artifact.notes
    assert note.startswith(f"nothing became int8; 2 layers: its weight is {dtype}; only float32 is quantized")
    assert result.manifest["artifacts"]["saved_model"]["notes"] == [note]


def test_bench_shows_where_its_time_goes(version: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Rows of integer ops under the names of the layers, beside what the machine does in that arithmetic at most."""
    quick = ["--seconds", "0.02", "--processes", "1", "--threads", "1", "--no-footprint"]
    assert main(["bench", str(version), "--profile", *quick]) == 0
    told = capfd.readouterr().out
    assert "int8" in next(line for line in told.splitlines() if line.startswith("peak of this machine"))
    _, table = told.split("on TensorFlow layers")
    rows = [line.split() for line in table.splitlines() if line.startswith(("_FusedQuantized", "_QuantizedMatMul"))]
    assert len(rows) == 7
    assert all(row[-1].endswith("%") for row in rows), "of the peak"
    assert all(float(row[2]) >= 0 for row in rows)
