"""Integers at the edges of a .tflite file: what goes in and comes out, what it costs, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tests.targets import ir_models
from tests.targets.gridded import drawn, gridded, served, together
from tests.targets.ir_models import CALLS
from tests.targets.test_tflite import DEMO, samples
from tests.targets.test_tflite_results import statistics
from tests.targets.tflite_cases import IMAGES, TEXTS, one_scale, rows
from tfopt.data import Samples
from tfopt.errors import ConversionError, InvalidRecipe
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.tflite import InferenceType, Precision, tflite
from tfopt.runtimes.edges import off_edges, on_edges
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.tflite import write_tflite


def answer(path: Path, key: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """In real numbers, whatever the file takes and gives."""
    with LiteRTRuntime(path) as runtime:
        info = runtime.signatures[key]
        return off_edges(info, runtime.run(key, on_edges(info, inputs)))


def dtypes(path: Path, key: str = DEFAULT_SIGNATURE) -> tuple[dict[str, type], dict[str, type]]:
    """As LiteRT tells them."""
    runner = Interpreter(str(path)).get_signature_runner(key)
    ends = runner.get_input_details(), runner.get_output_details()
    inputs, outputs = ({name: each["dtype"] for name, each in end.items()} for end in ends)
    return inputs, outputs


def test_the_bundled_model_with_bytes_going_in_and_coming_out(tmp_path: Path) -> None:
    """Its own calibration; as right as with floats at the edges, and a step of the output away from that."""
    model = read_saved_model(DEMO / "fashion_cnn")
    images, labels = np.load(DEMO / "fashion_mnist.npz")["image"], np.load(DEMO / "fashion_mnist_labels.npy")
    calibration = {key: samples(image=images[:200]) for key in model.signatures}
    found = {}
    for inside, outside in (("float32", "float32"), ("int8", "int8"), ("uint8", "uint8"), ("int8", "float32")):
        path = tmp_path / f"{inside}-{outside}.tflite"
        written = write_tflite(
            model,
            path,
            precision="int8",
            calibration=calibration,
            inference_input_type=inside,  # type: ignore[arg-type]  # one of them
            inference_output_type=outside,  # type: ignore[arg-type]  # one of them
        )
        assert written.notes == ()
        expected = {"image": getattr(np, inside)}, {"probabilities": getattr(np, outside)}
        assert dtypes(path) == dtypes(path, "serve") == expected
        found[path.stem] = answer(path, "serving_default", {"image": images[200:]})["probabilities"]
    right = {name: float(np.mean(made.argmax(-1) == labels[200:])) for name, made in found.items()}
    assert min(right.values()) >= right["float32-float32"] - 0.01
    for made in found.values():
        assert np.abs(made - found["float32-float32"]).max() < 0.02
    np.testing.assert_array_equal(found["int8-int8"], found["uint8-uint8"])


def test_sixteen_bits_at_the_edges(tmp_path: Path) -> None:
    model = ir_models.convolution()
    image = ir_models.normal(8, 6, 6, 2)
    written = write_tflite(
        model,
        tmp_path / "model.tflite",
        precision="int16",
        calibration={DEFAULT_SIGNATURE: samples(image=image)},
        inference_input_type="int16",
        inference_output_type="int16",
    )
    assert dtypes(written.path) == ({"image": np.int16}, {"features": np.int16})
    found = answer(written.path, DEFAULT_SIGNATURE, {"image": image})["features"]
    with ModelRunner(model) as reference:
        expected = reference.run(DEFAULT_SIGNATURE, {"image": image})["features"]
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def read_inside(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """An output that an op without an integer kernel reads."""
    y = tf.tanh(x, name="bounded")
    return y, tf.sin(y, name="far")


@pytest.mark.parametrize("integers", ["int8", "uint8"])
def test_an_output_that_a_float_op_reads_too(integers: InferenceType, tmp_path: Path) -> None:
    x = np.random.default_rng(2).uniform(-2, 2, (32, 8)).astype(np.float32)
    graph = drawn(read_inside, x)
    model = gridded(graph, x)
    written = write_tflite(
        model,
        tmp_path / "model.tflite",
        precision="int8",
        inference_input_type=integers,
        inference_output_type=integers,
    )
    found = answer(written.path, DEFAULT_SIGNATURE, {"x": x})
    with ModelRunner(served(graph)) as reference:
        for name, expected in reference.run(DEFAULT_SIGNATURE, {"x": x}).items():
            assert np.abs(found[name] - expected).max() < 0.02


@pytest.mark.parametrize("integers", ["int8", "uint8"])
def test_every_signature_has_integers_at_its_edges(integers: InferenceType, tmp_path: Path) -> None:
    models = {
        "images": gridded(drawn(one_scale, IMAGES), IMAGES, offsets=["x"]),
        "texts": gridded(drawn(rows, TEXTS), TEXTS),
    }
    written = write_tflite(
        together(models),
        tmp_path / "model.tflite",
        precision="int8",
        inference_input_type=integers,
        inference_output_type=integers,
    )
    assert written.notes == ()
    for key, data in (("images", IMAGES), ("texts", TEXTS)):
        inputs, outputs = dtypes(written.path, key)
        assert {*inputs.values(), *outputs.values()} == {getattr(np, integers)}
        with ModelRunner(models[key]) as reference:
            expected = reference.run(DEFAULT_SIGNATURE, {"x": data})
        for name, made in answer(written.path, key, {"x": data}).items():
            assert np.abs(made - expected[name]).max() < 0.1 * np.abs(expected[name]).max()


def float_ends(x: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Ops without an integer kernel at either edge, functions whose range TFLite knows, and an input that is an
    output."""
    ends = tf.sin(x, name="far"), tf.nn.softmax(tf.exp(x), name="shares"), tf.tanh(x, name="bounded")
    return *ends, tf.identity(x, name="same")


def test_what_the_decision_left_float_gets_grids_at_the_edges(tmp_path: Path) -> None:
    """From samples, or those of TFLite's own kernels."""
    x = np.random.default_rng(2).uniform(-2, 2, (32, 8)).astype(np.float32)
    layer = gridded(drawn(rows, TEXTS), TEXTS)
    model = together({"a": layer, "b": served(drawn(float_ends, x))})
    seen = SampleStatistics(
        {"a": Samples({"x": TEXTS}, "file", "drawn for a test"), "b": Samples({"x": x}, "file", "drawn for a test")}
    )
    written = write_tflite(
        model,
        tmp_path / "model.tflite",
        precision="int8",
        inference_input_type="int8",
        inference_output_type="int8",
        statistics=seen,
    )
    inputs, outputs = dtypes(written.path, "b")
    assert {*inputs.values(), *outputs.values()} == {np.int8}
    found = answer(written.path, "b", {"x": x})
    with ModelRunner(model) as reference:
        expected = reference.run("b", {"x": x})
    with LiteRTRuntime(written.path) as runtime:
        grids = {name: info.grid for name, info in runtime.signatures["b"].outputs.items()}
    assert {name: grid and (grid.scale, grid.zero_point) for name, grid in grids.items() if name != "far"} == {
        "shares": (1 / 256, -128),
        "bounded": (1 / 128, 0),
        "same": (pytest.approx(4 / 255, rel=0.02), pytest.approx(0, abs=1)),
    }
    # A step of the input, and what the functions make of one, and a step of the output.
    for name, most in {"far": 0.02, "shares": 0.05, "bounded": 0.02, "same": 0.01}.items():
        assert np.abs(found[name] - expected[name]).max() < most, name


def test_an_edge_that_samples_say_nothing_of_is_refused(tmp_path: Path) -> None:
    model = gridded(drawn(rows, TEXTS), TEXTS, floats=["x"])
    with pytest.raises(ConversionError, match="%x: an integer at the edge needs a scale, and no samples reach it"):
        write_tflite(model, tmp_path / "model.tflite", precision="int8", inference_input_type="int8")
    hostile = TEXTS.copy()
    hostile[0, 0] = np.inf
    with pytest.raises(ConversionError, match="it is NaN or infinite in samples"):
        write_tflite(
            model,
            tmp_path / "model.tflite",
            precision="int8",
            inference_input_type="int8",
            statistics=statistics(hostile),
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("draw", "option", "said"),
    [
        (
            lambda x: tf.tanh(tf.sin(x), name="y"),
            "inference_input_type",
            "the input x cannot be integers: it is read",
        ),
        (
            lambda x: tf.sin(tf.tanh(x), name="y"),
            "inference_output_type",
            "the output y cannot be integers: SIN",
        ),
    ],
)
def test_what_the_converter_leaves_float_at_an_edge_is_refused_by_name(
    draw: Any, option: str, said: str, tmp_path: Path
) -> None:
    """It calibrates by itself, and gives no scale to what it has no kernel for."""
    x = np.random.default_rng(2).uniform(-2, 2, (32, 8)).astype(np.float32)
    calibration = {DEFAULT_SIGNATURE: samples(x=x)}
    chosen: dict[str, Any] = {option: "int8"}
    with pytest.raises(ConversionError, match=said):
        write_tflite(
            served(drawn(draw, x)), tmp_path / "model.tflite", precision="int8", calibration=calibration, **chosen
        )
    assert not list(tmp_path.iterdir())


def test_weights_stay_where_runtimes_need_them(tmp_path: Path) -> None:
    written = write_tflite(
        gridded(drawn(rows, TEXTS), TEXTS), tmp_path / "model.tflite", precision="int8", inference_input_type="int8"
    )
    content = written.path.read_bytes()
    file = schema.Model.GetRootAs(content)
    buffers = [buffer for buffer in map(file.Buffers, range(file.BuffersLength())) if buffer.DataLength()]
    places = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers]
    assert len(places) > 4
    assert {place % 16 for place in places} == {0}


def test_an_edge_that_is_no_float_is_refused(tmp_path: Path) -> None:
    """The integers that go into this model are indices."""
    model, _ = CALLS["lookup"]
    with pytest.raises(ConversionError, match=r"inference_input_type is int8, and no input is float32 \(\w+\)"):
        write_tflite(model, tmp_path / "model.tflite", precision="int8", inference_input_type="int8")


@pytest.mark.parametrize(
    ("precision", "chosen", "fitting"),
    [
        ("float32", "int8", "float32"),
        ("float16", "uint8", "float32"),
        ("dynamic", "int8", "float32"),
        ("int8", "int16", "float32 or int8 or uint8"),
        ("int16", "int8", "float32 or int16"),
    ],
)
@pytest.mark.parametrize("side", ["inference_input_type", "inference_output_type"])
def test_integers_that_do_not_go_with_the_precision(
    precision: Precision, chosen: InferenceType, fitting: str, side: str
) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        tflite.request({"precision": precision, side: chosen})
    assert str(caught.value).startswith(
        f"tflite: {side} is {chosen}, which does not go with the precision {precision}; it can be {fitting}"
    )
