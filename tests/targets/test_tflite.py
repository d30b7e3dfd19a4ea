"""Conversion to .tflite, held against the model in memory, and what the converter refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

import tfopt
from tests.targets import ir_models
from tests.targets.conftest import tree
from tests.targets.ir_models import CALLS
from tfopt.data import Samples
from tfopt.errors import ConversionError, ExecutionError, OutputError, OutputExists
from tfopt.formats.graph_def import from_graph_def
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import DType, Model, Shape, SignatureOutput, TensorType, Value
from tfopt.ir.text import parse
from tfopt.recipe import parse_recipe
from tfopt.runtimes.base import signatures_of
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.tflite import write_tflite
from tfopt.targets.tflite_signatures import check_names, with_aliases

DEMO = Path(__file__).parents[2] / "tfopt" / "demo"


def samples(**arrays: np.ndarray) -> Samples:
    return Samples(arrays, "file", "drawn for a test")


def layers_samples() -> dict[str, Samples]:
    return {"by_id": samples(ids=np.arange(32, dtype=np.int32)), "serving_default": samples(x=ir_models.normal(64, 8))}


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_all` writes in this process. Each conversion takes seconds."""
    out = tmp_path_factory.mktemp("ours") / "tflite"
    write_all(out)
    return out


@pytest.mark.parametrize("name", ["layers", "convolution", "echoes", "lookup"])
def test_float_computes_what_the_model_computes_in_every_signature(name: str, tmp_path: Path) -> None:
    model, calls = CALLS[name]
    artifact = write_tflite(model, tmp_path / "model.tflite")
    assert (artifact.kind, artifact.path, artifact.notes) == ("tflite", tmp_path / "model.tflite", ())
    with LiteRTRuntime(artifact.path) as runtime, ModelRunner(model) as reference:
        assert runtime.signatures.keys() == set(calls)
        for key, info in signatures_of(model).items():
            for ends in ("inputs", "outputs"):
                dtypes = {end: entry.type.dtype for end, entry in getattr(runtime.signatures[key], ends).items()}
                assert dtypes == {end: entry.type.dtype for end, entry in getattr(info, ends).items()}
        for key, inputs in calls.items():
            found, expected = runtime.run(key, inputs), reference.run(key, inputs)
            assert found.keys() == expected.keys()
            for output, array in expected.items():
                if array.dtype == np.float32:
                    assert relative_error(found[output], array) < 1e-5
                else:
                    assert found[output].tolist() == array.tolist()


def test_int8_quantizes_every_signature_and_keeps_the_contract(ours: Path) -> None:
    model, calls = CALLS["layers"]
    path = ours / "int8.tflite"
    interpreter = Interpreter(str(path))
    weights = [d for d in interpreter.get_tensor_details() if d["dtype"] == np.int8 and tuple(d["shape"]) == (24, 8)]
    assert len(weights) == 1
    with LiteRTRuntime(path) as runtime, ModelRunner(model) as reference:
        for key, inputs in calls.items():
            found, expected = runtime.run(key, inputs), reference.run(key, inputs)
            for output, array in expected.items():
                assert found[output].dtype == np.float32
                assert 0 < relative_error(found[output], array) < 0.02


def test_the_bundled_model_at_eight_bits(tmp_path: Path) -> None:
    """A quarter of the bytes, and at most a point of accuracy on the 200 images it was not calibrated on."""
    model = read_saved_model(DEMO / "fashion_cnn")
    images, labels = np.load(DEMO / "fashion_mnist.npz")["image"], np.load(DEMO / "fashion_mnist_labels.npy")
    calibration = {key: samples(image=images[:200]) for key in model.signatures}
    path = write_tflite(model, tmp_path / "model.tflite", precision="int8", calibration=calibration).path
    assert schema.Model.GetRootAs(path.read_bytes()).SubgraphsLength() == 1
    original = sum(file.stat().st_size for file in (DEMO / "fashion_cnn").rglob("*") if file.is_file())
    assert path.stat().st_size <= 0.30 * original
    with LiteRTRuntime(path) as runtime, ModelRunner(model) as reference:
        right = {}
        assert runtime.signatures.keys() == {"serve", "serving_default"}
        for name, runner in (("int8", runtime), ("float", reference)):
            found = runner.run("serving_default", {"image": images[200:]})["probabilities"]
            right[name] = float(np.mean(found.argmax(-1) == labels[200:]))
        answers = [runtime.run(key, {"image": images[:3]})["probabilities"] for key in runtime.signatures]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert right["int8"] >= right["float"] - 0.01


def test_the_bundled_model_with_activations_of_sixteen_bits(tmp_path: Path) -> None:
    """All in integers, near float, and floats at the edges."""
    model = read_saved_model(DEMO / "fashion_cnn")
    images = np.load(DEMO / "fashion_mnist.npz")["image"]
    calibration = {key: samples(image=images[:50]) for key in model.signatures}
    artifact = write_tflite(model, tmp_path / "model.tflite", precision="int16", calibration=calibration)
    assert artifact.notes == ()
    with LiteRTRuntime(artifact.path) as runtime, ModelRunner(model) as reference:
        found, expected = (
            runner.run("serving_default", {"image": images[200:232]})["probabilities"]
            for runner in (runtime, reference)
        )
    assert found.dtype == np.float32
    assert 0 < relative_error(found, expected) < 0.03
    np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.55), ("dynamic", 0.4)])
def test_smaller_weights_keep_the_contract(precision: str, share: float, tmp_path: Path) -> None:
    """Two signatures over one matrix, which is stored once; inputs and outputs stay float32."""
    model = matrices()
    whole = write_tflite(model, tmp_path / "float.tflite").path.stat().st_size
    path = write_tflite(model, tmp_path / "model.tflite", precision=precision).path
    assert path.stat().st_size < share * whole
    with LiteRTRuntime(path) as runtime, ModelRunner(model) as reference:
        assert runtime.signatures.keys() == model.signatures.keys()
        for key in model.signatures:
            x = ir_models.normal(3, 64)
            found, expected = runtime.run(key, {"x": x})["y"], reference.run(key, {"x": x})["y"]
            assert found.dtype == np.float32
            assert runtime.signatures[key].inputs["x"].type == TensorType(DType.FLOAT32, Shape.of(None, 64))
            assert 0 < relative_error(found, expected) < 0.02


def matrices() -> Model:
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?,64]} -> float32[?,64]
          %x_1 = Placeholder() {dtype: float32, shape: [?,64]} -> float32[?,64]
          %kernel = Const() {dtype: float32, value: float32[64,512] random(2)} -> float32[64,512]
          %from_x = MatMul(%x, %kernel) {T: float32} -> float32[?,512]
          %from_x_1 = MatMul(%x_1, %kernel) {T: float32} -> float32[?,512]
          %half = Relu(%from_x_1) {T: float32} -> float32[?,512]
          inputs %x, %x_1
          outputs %from_x, %half
        }
        """
    )
    return ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0}), "bounded": ({"x": "x_1"}, {"y": 1})})


def test_ops_that_stay_float_are_told_with_their_share_of_the_work(tmp_path: Path) -> None:
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?,64]} -> float32[?,64]
          %kernel = Const() {dtype: float32, value: float32[64,32] random(2)} -> float32[64,32]
          %product = MatMul(%x, %kernel) {T: float32} -> float32[?,32]
          %y = Sin(%product) {T: float32} -> float32[?,32]
          inputs %x
          outputs %y
        }
        """
    )
    model = ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0})})
    calibration = {"serving_default": samples(x=ir_models.normal(8, 64))}
    artifact = write_tflite(model, tmp_path / "model.tflite", precision="int8", calibration=calibration)
    assert artifact.notes == (
        "stayed float, for want of an integer kernel: 1 SIN with 0.0% of the multiply-accumulates",
    )


@pytest.mark.parametrize("calibration", [None, {"by_id": layers_samples()["by_id"]}], ids=["none", "one missing"])
def test_int8_without_samples_names_the_signature(calibration: dict[str, Samples] | None, tmp_path: Path) -> None:
    missing = "by_id" if calibration is None else "serving_default"
    with pytest.raises(ConversionError, match=f"needs calibration samples for the signature {missing}"):
        write_tflite(ir_models.layers(), tmp_path / "model.tflite", precision="int8", calibration=calibration)
    assert list(tmp_path.iterdir()) == []


def unsupported(op: str) -> Model:
    with tf.Graph().as_default() as graph:
        if op == "Svd":
            x = tf.compat.v1.placeholder(tf.float32, [None, 4, 4], name="x")
            tf.linalg.svd(x, compute_uv=False, name="decompose")
            output = "decompose"
        else:
            x = tf.compat.v1.placeholder(tf.string, [None], name="x")
            tf.strings.regex_replace(x, "a", "b", name="clean/words")
            output = "clean/words"
        drawn = from_graph_def(graph.as_graph_def(), inputs=["x"], outputs=[Value(output)])
    return ir_models.model_of(drawn, {"serving_default": ({"x": "x"}, {"y": 0})})


@pytest.mark.parametrize(("op", "node"), [("Svd", "decompose"), ("StaticRegexReplace", "clean/words")])
def test_a_refusal_names_op_and_node_in_one_line(
    op: str, node: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConversionError) as caught:
        write_tflite(unsupported(op), tmp_path / "model.tflite")
    assert str(caught.value) == f"the TFLite converter refuses the model: TFLite has no {op} (node {node})"
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_ops_without_a_place_in_the_refusal_are_looked_up_in_the_model(tmp_path: Path) -> None:
    """The converter names ops that it would leave to TensorFlow, not the nodes."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.string, [None], name="x")
        for number in range(5):
            x = tf.strings.upper(x, name=f"step_{number}/upper")
        tf.strings.length(x, name="count")
    drawn = from_graph_def(graph.as_graph_def(), inputs=["x"], outputs=[Value("count")])
    model = ir_models.model_of(drawn, {"serving_default": ({"x": "x"}, {"y": 0})})
    with pytest.raises(ConversionError) as caught:
        write_tflite(model, tmp_path / "model.tflite")
    assert str(caught.value).endswith(
        "TFLite has no StringLength (node count), "
        "StringUpper (nodes step_0/upper, step_1/upper, step_2/upper and 2 more)"
    )


def test_a_model_too_large_for_a_file_is_refused_before_the_converter_is_started(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        write_tflite(ir_models.layers(), tmp_path / "model.tflite", precision="float16", largest=1800, timeout=0)
    assert str(caught.value) == (
        "table: 1,024 bytes: the model holds 1,892 bytes of constants, and the TFLite converter takes at most 1,800 of "
        "them, whatever the precision; serve the SavedModel, or write ONNX, whose weights may lie beside the file"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_tflite(ir_models.layers(), tmp_path / "m.tflite", precision="int8", calibration=layers_samples())
    assert capfd.readouterr() == ("", "")


def test_an_input_with_a_default_must_be_given(tmp_path: Path) -> None:
    path = write_tflite(ir_models.with_default(), tmp_path / "model.tflite").path
    x = np.ones(2, np.float32)
    with LiteRTRuntime(path) as runtime:
        assert runtime.run("serving_default", {"x": x, "scale": np.float32(2)})["y"].tolist() == [2.0, 2.0]
        with pytest.raises(ExecutionError, match="missing: scale"):
            runtime.run("serving_default", {"x": x})


def test_an_input_that_nothing_reads_is_kept(tmp_path: Path) -> None:
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
          %ignored = Placeholder() {dtype: int64, shape: [?,2]} -> int64[?,2]
          %y = Neg(%x) {T: float32} -> float32[?]
          inputs %x, %ignored
          outputs %y
        }
        """
    )
    model = ir_models.model_of(graph, {"serving_default": ({"x": "x", "ignored": "ignored"}, {"y": 0})})
    with LiteRTRuntime(write_tflite(model, tmp_path / "model.tflite").path) as runtime:
        found = runtime.run("serving_default", {"x": np.ones(2, np.float32), "ignored": np.ones((5, 2), np.int64)})
        assert found["y"].tolist() == [-1.0, -1.0]


def test_what_is_lost_is_found(ours: Path) -> None:
    model = ir_models.layers()
    content = (ours / "float32.tflite").read_bytes()
    check_names(content, model)
    kept = model.signatures["by_id"]
    with pytest.raises(ConversionError, match=r"changed the signatures: train \(missing\)"):
        check_names(content, replace(model, signatures={**model.signatures, "train": kept}))
    renamed = replace(kept, outputs={"y": kept.outputs["y"], "z": kept.outputs["row"]})
    with pytest.raises(ConversionError, match=r"outputs of signature by_id: row \(new\), z \(missing\)"):
        check_names(content, replace(model, signatures={**model.signatures, "by_id": renamed}))
    half = SignatureOutput(kept.outputs["y"].position, TensorType(DType.FLOAT16))
    retyped = replace(kept, outputs={**kept.outputs, "y": half})
    with pytest.raises(ConversionError, match=r"y \(float16 became float32\)"):
        check_names(content, replace(model, signatures={**model.signatures, "by_id": retyped}))


def test_an_alias_moves_nothing_that_is_there(ours: Path, tmp_path: Path) -> None:
    content = (ours / "float32.tflite").read_bytes()
    assert with_aliases(content, {}) is content
    changed = with_aliases(content, {"second": "by_id", "a": "serving_default"})
    different = [place for place in range(len(content)) if content[place] != changed[place]]
    assert len(different) <= 4, "only the offset to the signatures"
    (tmp_path / "changed.tflite").write_bytes(changed)
    with LiteRTRuntime(tmp_path / "changed.tflite") as runtime:
        assert list(runtime.signatures) == ["a", "by_id", "second", "serving_default"]
        for key, alias in (("by_id", "second"), ("serving_default", "a")):
            assert runtime.signatures[alias].inputs == runtime.signatures[key].inputs
            inputs = CALLS["layers"][1][key]
            found, expected = runtime.run(alias, inputs), runtime.run(key, inputs)
            assert found.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array)


def test_what_is_there_is_kept_and_what_cannot_be_written_named(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_text("mine")
    with pytest.raises(OutputExists):
        write_tflite(ir_models.convolution(), path)
    assert path.read_text() == "mine"
    with pytest.raises(OutputError, match=r"missing/model\.tflite"):
        write_tflite(ir_models.convolution(), tmp_path / "missing" / "model.tflite")


def write_all(out: Path) -> None:
    out.mkdir()
    for precision in ("float32", "int8"):
        path = out / f"{precision}.tflite"
        write_tflite(ir_models.layers(), path, precision=precision, calibration=layers_samples())


def test_another_process_writes_the_same_bytes(ours: Path, other_process: tuple[Path, list[str]]) -> None:
    written = tree(ours)
    assert written == tree(other_process[0] / "tflite")
    assert set(written) == {"float32.tflite", "int8.tflite"}


def test_zeros_stay_out_of_a_sparse_file(tmp_path: Path) -> None:
    plain, packed = (
        tfopt.compress(
            DEMO / "fashion_cnn",
            tmp_path / name,
            recipe=parse_recipe(
                "name: pruned\nsteps: [{include: exact}, {prune_magnitude: {sparsity: 0.9}}, "
                f"{{tflite: {{precision: float32, sparse: {name == 'packed'}}}}}]",
                "here",
            ),
            max_drop=100,
        ).path
        / "model.tflite"
        for name in ("plain", "packed")
    )
    assert packed.stat().st_size < 0.4 * plain.stat().st_size
    image = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    with LiteRTRuntime(plain) as dense, LiteRTRuntime(packed) as sparse:
        expected = dense.run("serving_default", {"image": image})
        found = sparse.run("serving_default", {"image": image})
    np.testing.assert_array_equal(found["probabilities"], expected["probabilities"])
