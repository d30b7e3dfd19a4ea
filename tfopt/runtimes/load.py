"""Open an artifact by what the path is."""

from __future__ import annotations

from pathlib import Path

from tfopt.errors import InvalidModel
from tfopt.formats.model_path import check_there, version_hint
from tfopt.runtimes.base import Runtime

_EXPECTED = "a SavedModel directory (with saved_model.pb in it), a .tflite or a .onnx file"


def open_artifact(path: Path, *, threads: int | None = None) -> Runtime:
    """A SavedModel directory under TensorFlow, a .tflite file under LiteRT, a .onnx file under ONNX Runtime.

    `threads`: of the kernels; None leaves it to the engine. Raises NotFound, InvalidModel, UnsupportedModel,
    MissingExtra.
    """
    check_there(path, f"give {_EXPECTED}")
    if path.is_file() and path.suffix == ".tflite":
        from tfopt.runtimes.litert import LiteRTRuntime

        return LiteRTRuntime(path, threads=threads)
    if path.is_file() and path.suffix == ".onnx":
        from tfopt.runtimes.onnxruntime import ONNXRuntime

        return ONNXRuntime(path, threads=threads)
    if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file():
        from tfopt.runtimes.tensorflow import TensorFlowRuntime

        return TensorFlowRuntime(path, threads=threads)
    raise InvalidModel("is no model", where=str(path), hint=_hint(path))


def _hint(path: Path) -> str:
    files = [*sorted(path.glob("*.tflite")), *sorted(path.glob("*.onnx"))] if path.is_dir() else []
    if files:
        return f"give the file itself: {files[0]}"
    return version_hint(path) or f"expected {_EXPECTED}"
