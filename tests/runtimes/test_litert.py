from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from tests.targets import ir_models
from tfopt.errors import ExecutionError, InvalidModel, NotFound, UnsupportedModel
from tfopt.formats.serving.tensorflow_messages import SignatureDef
from tfopt.ir import DType, Shape, TensorType
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.tflite import write_tflite


@pytest.fixture(scope="module")
def convolution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tflite(ir_models.convolution(), tmp_path_factory.mktemp("convolution") / "model.tflite").path


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tflite(ir_models.layers(), tmp_path_factory.mktemp("layers") / "model.tflite").path


def without_signatures(path: Path, target: Path) -> Path:
    return repacked(path, target, lambda model: setattr(model, "signatureDefs", []))


def repacked(path: Path, target: Path, change: Callable[[schema.ModelT], None]) -> Path:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(builder.Output())
    return target


def test_the_batch_may_change_from_run_to_run(convolution: Path) -> None:
    with LiteRTRuntime(convolution, threads=2) as runtime, ModelRunner(ir_models.convolution()) as reference:
        for batch in (1, 7, 1, 2):
            image = ir_models.normal(batch, 6, 6, 2, seed=batch)
            found = runtime.run("serving_default", {"image": image})["features"]
            expected = reference.run("serving_default", {"image": image})["features"]
            assert found.shape == (batch, 6, 6, 3)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_signatures_are_told_by_the_file(layers: Path) -> None:
    with LiteRTRuntime(layers) as runtime:
        assert list(runtime.signatures) == ["by_id", "serving_default"]
        by_id = runtime.signatures["by_id"]
        assert {name: info.type for name, info in by_id.inputs.items()} == {
            "ids": TensorType(DType.INT32, Shape.of(None))
        }
        assert {name: info.type for name, info in by_id.outputs.items()} == {
            "row": TensorType(DType.FLOAT32, Shape.of(None, 8)),
            "y": TensorType(DType.FLOAT32, Shape.of(None, 24)),
        }
        with ModelRunner(ir_models.layers()) as reference:
            for key, inputs in (
                ("by_id", {"ids": np.array([4, 1], np.int32)}),
                ("serving_default", {"x": ir_models.normal(3, 8)}),
            ):
                found, expected = runtime.run(key, inputs), reference.run(key, inputs)
                assert found.keys() == expected.keys()
                for name, array in expected.items():
                    np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


def test_a_file_without_signatures_gets_the_tensors_names(convolution: Path, tmp_path: Path) -> None:
    bare = without_signatures(convolution, tmp_path / "bare.tflite")
    image = ir_models.normal(3, 6, 6, 2)
    with LiteRTRuntime(bare) as runtime, LiteRTRuntime(convolution) as signed:
        ((key, info),) = runtime.signatures.items()
        assert (key, set(info.inputs), set(info.outputs)) == ("serving_default", {"image"}, {"features"})
        found = runtime.run("serving_default", {"image": image})
        np.testing.assert_array_equal(found["features"], signed.run("serving_default", {"image": image})["features"])


def in_metadata(path: Path, target: Path, content: bytes) -> Path:
    """The file without signatures, but with what older converters wrote into its metadata."""

    def change(model: schema.ModelT) -> None:
        model.signatureDefs = []
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(content, np.uint8)
        model.buffers.append(buffer)
        entry.name, entry.buffer = "signature_defs_metadata", len(model.buffers) - 1
        model.metadata = [*(model.metadata or ()), entry]

    return repacked(path, target, change)


def signature_def(inputs: dict[str, str], outputs: dict[str, str]) -> bytes:
    message = SignatureDef(method_name="tensorflow/serving/predict")
    for field, names in ((message.inputs, inputs), (message.outputs, outputs)):
        for name, tensor in names.items():
            field[name].name = tensor
    serialized: bytes = message.SerializeToString()
    return serialized


def test_signatures_in_the_metadata(convolution: Path, tmp_path: Path) -> None:
    signed = {"classify": signature_def({"x": "image:0"}, {"y": "features:0"})}
    old = in_metadata(convolution, tmp_path / "old.tflite", bytes(flexbuffers.Dumps(signed)))
    image = ir_models.normal(3, 6, 6, 2)
    with LiteRTRuntime(old) as runtime, LiteRTRuntime(convolution) as new:
        ((key, info),) = runtime.signatures.items()
        assert (key, info.method_name) == ("classify", "tensorflow/serving/predict")
        assert (info.inputs["x"].name, info.outputs["y"].name) == ("image:0", "features:0")
        found = runtime.run("classify", {"x": image})
        np.testing.assert_array_equal(found["y"], new.run("serving_default", {"image": image})["features"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xff\xff\xff", "cannot be read"),
        (bytes(flexbuffers.Dumps([1, 2])), "cannot be read"),
        (bytes(flexbuffers.Dumps({"k": b"\xff\xff"})), "cannot be read"),
        (bytes(flexbuffers.Dumps({"k": signature_def({"x": "other:0"}, {})})), "tensors that it has not got: other"),
    ],
)
def test_signatures_in_the_metadata_that_are_none(content: bytes, said: str, convolution: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=said):
        LiteRTRuntime(in_metadata(convolution, tmp_path / "bad.tflite", content))


def test_an_unknown_rank_is_no_scalar(tmp_path: Path) -> None:
    graph = ir_models.parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [*]} -> float32[*]
          %s = Placeholder() {dtype: float32, shape: []} -> float32[]
          %y = Mul(%x, %s) {T: float32} -> float32[*]
          inputs %x, %s
          outputs %y
        }
        """
    )
    model = ir_models.model_of(graph, {"serving_default": ({"x": "x", "s": "s"}, {"y": 0})})
    with LiteRTRuntime(write_tflite(model, tmp_path / "model.tflite").path) as runtime:
        inputs = runtime.signatures["serving_default"].inputs
        assert (inputs["x"].type.shape, inputs["s"].type.shape) == (Shape(None), Shape.of())
        x = ir_models.normal(2, 3)
        np.testing.assert_array_equal(runtime.run("serving_default", {"x": x, "s": np.float32(2)})["y"], x * 2)


def test_strings_go_in_and_come_out(tmp_path: Path) -> None:
    with LiteRTRuntime(write_tflite(ir_models.lookup(), tmp_path / "model.tflite").path) as runtime:
        assert runtime.signatures["serving_default"].inputs["words"].type == TensorType(DType.STRING, Shape.of(None))
        words = np.array([b"fox", b"", "the"], object)
        assert runtime.run("serving_default", {"words": words})["ids"].tolist() == [2, -1, 0]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            {"image": ir_models.normal(1, 6, 5, 2)},
            r"the input image is float32\[1,6,5,2\], the model takes float32\[\?,6,6,2\]",
        ),
        ({"image": ir_models.normal(6, 6, 2)}, r"is float32\[6,6,2\], the model takes"),
        ({"image": np.float32(1)}, r"is float32\[\], the model takes"),
        ({"image": np.ones((1, 6, 6, 2))}, r"is float64\[1,6,6,2\], the model takes float32"),
        ({"picture": ir_models.normal(1, 6, 6, 2)}, "unknown: picture; missing: image"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_next_run_is_right(
    convolution: Path, inputs: dict[str, np.ndarray], said: str
) -> None:
    image = ir_models.normal(2, 6, 6, 2)
    with LiteRTRuntime(convolution) as runtime:
        before = runtime.run("serving_default", {"image": image})["features"]
        for _ in range(2):
            with pytest.raises(ExecutionError, match=said) as caught:
                runtime.run("serving_default", inputs)
        # LiteRT piles its errors up; ours is about this run alone.
        assert str(caught.value).count("FLOAT64") <= 1
        np.testing.assert_array_equal(runtime.run("serving_default", {"image": image})["features"], before)


def test_outputs_are_copies(convolution: Path) -> None:
    with LiteRTRuntime(convolution) as runtime:
        first = runtime.run("serving_default", {"image": ir_models.normal(1, 6, 6, 2, seed=1)})["features"]
        kept = first.copy()
        runtime.run("serving_default", {"image": ir_models.normal(1, 6, 6, 2, seed=2)})
        np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("interpreters", [1, 3])
def test_many_threads_get_their_own_answers(convolution: Path, interpreters: int) -> None:
    images = [ir_models.normal(1 + n % 3, 6, 6, 2, seed=n) for n in range(9)]
    with LiteRTRuntime(convolution, interpreters=interpreters) as runtime:
        expected = [runtime.run("serving_default", {"image": image})["features"] for image in images]

        def ask(n: int) -> bool:
            found = runtime.run("serving_default", {"image": images[n % 9]})["features"]
            return bool(np.array_equal(found, expected[n % 9]))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(900)))


def test_a_later_interpreter_is_of_the_same_file(convolution: Path, layers: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(convolution.read_bytes())
    image = ir_models.normal(1, 6, 6, 2)
    with LiteRTRuntime(path, interpreters=2) as runtime:
        expected = runtime.run("serving_default", {"image": image})["features"]
        path.write_bytes(layers.read_bytes())
        with runtime._interpreter():  # the first is taken, so the run below makes a second
            np.testing.assert_array_equal(runtime.run("serving_default", {"image": image})["features"], expected)


def test_a_closed_model_says_so(convolution: Path) -> None:
    runtime = LiteRTRuntime(convolution, interpreters=2)
    runtime.close()
    runtime.close()
    with pytest.raises(ExecutionError, match="closed"):
        runtime.run("serving_default", {"image": ir_models.normal(1, 6, 6, 2)})


def test_closing_waits_for_nobody_and_breaks_nothing(convolution: Path) -> None:
    """Runs that wait for an interpreter when the model is closed end with an error, not never."""
    runtime = LiteRTRuntime(convolution)
    image = ir_models.normal(64, 6, 6, 2)

    def ask(_: int) -> str:
        try:
            runtime.run("serving_default", {"image": image})
        except ExecutionError as error:
            return error.what
        return "answered"

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, n) for n in range(200)]
        answers[5].result()
        runtime.close()
        assert {answer.result(timeout=30) for answer in answers} <= {"answered", "the model has been closed"}


def test_an_unknown_signature_is_not_found(layers: Path) -> None:
    with LiteRTRuntime(layers) as runtime, pytest.raises(NotFound, match="by_id, serving_default"):
        runtime.run("serve", {})


@pytest.mark.parametrize("content", [b"", b"hello, this is no flatbuffer", None])
def test_what_is_no_tflite_is_an_invalid_model(convolution: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(convolution.read_bytes()[:-400] if content is None else content)
    with pytest.raises(InvalidModel, match=r"cannot load the file|is empty") as caught:
        LiteRTRuntime(path)
    assert str(path) in str(caught.value)


def test_an_op_that_litert_lacks_is_unsupported(convolution: Path, tmp_path: Path) -> None:
    def rename(model: schema.ModelT) -> None:
        code = model.operatorCodes[0]
        code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"MyOwnOp"

    with pytest.raises(UnsupportedModel, match="MyOwnOp"):
        LiteRTRuntime(repacked(convolution, tmp_path / "model.tflite", rename))


def test_tensorflow_is_not_imported_and_nothing_is_said(convolution: Path) -> None:
    script = f"""
import sys
from pathlib import Path
import numpy as np
from tfopt.runtimes.load import open_artifact
with open_artifact(Path({str(convolution)!r})) as runtime:
    runtime.run("serving_default", {{"image": np.zeros((1, 6, 6, 2), np.float32)}})
print([name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
