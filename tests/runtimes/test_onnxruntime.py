"""ONNX Runtime behind the protocol: other makers' files, errors, threads, closing."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.targets import ir_models
from tfopt.errors import ExecutionError, InvalidModel, NotFound, UnsupportedModel
from tfopt.ir import DType, Shape, TensorType
from tfopt.runtimes.load import open_artifact
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.onnx import write_onnx


@pytest.fixture(scope="module")
def convolution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(ir_models.convolution(), tmp_path_factory.mktemp("convolution") / "model.onnx").path


def foreign(path: Path, op: str, kind: int, *, domain: str = "") -> Path:
    """A file as other tools write it: y = op(x), no metadata."""
    x, y = (helper.make_tensor_value_info(name, kind, ["n", 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], domain=domain)], "g", [x], [y])
    imports = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def test_a_file_of_other_makers_has_one_signature(tmp_path: Path) -> None:
    with open_artifact(foreign(tmp_path / "other.onnx", "Neg", onnx.TensorProto.DOUBLE), threads=1) as runtime:
        assert runtime.kind == "onnx"
        assert list(runtime.signatures) == ["serving_default"]
        expected = TensorType(DType.FLOAT64, Shape.of(None, 3))
        assert runtime.signatures["serving_default"].inputs["x"].type == expected
        assert runtime.run("serving_default", {"x": np.ones((2, 3))})["y"].tolist() == [[-1.0] * 3] * 2


def test_strings_are_bytes(tmp_path: Path) -> None:
    with ONNXRuntime(foreign(tmp_path / "strings.onnx", "Identity", onnx.TensorProto.STRING)) as runtime:
        words = np.array([[b"a", "ä".encode(), b""]], object)
        assert runtime.run("serving_default", {"x": words})["y"].tolist() == words.tolist()
        with pytest.raises(ExecutionError, match="a string of the input x is not UTF-8"):
            runtime.run("serving_default", {"x": np.array([[b"\xff", b"", b""]], object)})


def test_several_threads_may_run_at_once(convolution: Path) -> None:
    images = [ir_models.normal(batch, 6, 6, 2, seed=batch) for batch in (1, 7, 2, 5)] * 4
    with (
        ONNXRuntime(convolution, threads=1, at_once=2) as runtime,
        ModelRunner(ir_models.convolution()) as reference,
    ):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda image: runtime.run("serving_default", {"image": image})["features"], images))
        for image, made in zip(images, found, strict=True):
            expected = reference.run("serving_default", {"image": image})["features"]
            np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused_with_what_would(convolution: Path) -> None:
    image = ir_models.normal(1, 6, 6, 2)
    with ONNXRuntime(convolution) as runtime:
        with pytest.raises(NotFound, match="the model has: serving_default"):
            runtime.run("other", {"image": image})
        with pytest.raises(ExecutionError, match="missing: image"):
            runtime.run("serving_default", {})
        with pytest.raises(ExecutionError, match=r"is float32\[1,6,6\], the model takes float32\[\?,6,6,2\]"):
            runtime.run("serving_default", {"image": image[..., 0]})
        with pytest.raises(ExecutionError, match=r"signature serving_default: .*is float64\[1,6,6,2\]"):
            runtime.run("serving_default", {"image": image.astype(np.float64)})
    with pytest.raises(ExecutionError, match="has been closed"):
        runtime.run("serving_default", {"image": image})


def test_a_file_that_is_no_model_or_needs_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"noise" * 9)
    with pytest.raises(InvalidModel, match=r"noise\.onnx: ONNX Runtime cannot load the file"):
        ONNXRuntime(tmp_path / "noise.onnx")
    with pytest.raises((UnsupportedModel, InvalidModel), match="Fused"):
        ONNXRuntime(foreign(tmp_path / "own.onnx", "Fused", onnx.TensorProto.FLOAT, domain="some.one"))
    with pytest.raises(InvalidModel, match="missing"):
        ONNXRuntime(tmp_path / "missing.onnx")


def test_it_needs_neither_tensorflow_nor_onnx(convolution: Path) -> None:
    script = f"""
import sys
sys.modules["tensorflow"] = sys.modules["onnx"] = None
from pathlib import Path
from tfopt.runtimes.load import open_artifact
print(list(open_artifact(Path({str(convolution)!r})).signatures))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "['serving_default']\n"
