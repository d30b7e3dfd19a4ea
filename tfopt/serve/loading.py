"""A version directory to a runtime that is checked, loaded and warm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from numpy.typing import NDArray

from tfopt.errors import InvalidModel, TfoptError
from tfopt.runtimes.base import Closing, Runtime, SignatureInfo, find_signature
from tfopt.store import Manifest, verify_files

RuntimeChoice = Literal["auto", "tensorflow", "litert", "onnxruntime"]

#: What may lie in a version beside a SavedModel or alone: runtime, kind and file, the one that `auto` takes first.
_BESIDE = (("litert", "tflite", "model.tflite"), ("onnxruntime", "onnx", "model.onnx"))


def load_version(path: Path, choice: RuntimeChoice, cores: int) -> Runtime:
    """Verify the files against the manifest, load what `choice` and the manifest say, replay the warmup requests.

    `auto` takes the first of LiteRT, ONNX Runtime and TensorFlow that has an artifact here; a `model.tflite` or
    `model.onnx` counts when the manifest says that it has passed the gate, or when there is neither a manifest nor a
    SavedModel. A lone file is served by its own runtime.

    Raises InvalidModel, MissingExtra for a runtime that is not installed, and what the runtimes raise.
    """
    if path.is_file():
        return _open_file(path, cores)
    manifest = verify_files(path)
    runtime = _open(path, manifest, choice, cores)
    try:
        _warm_up(runtime, path)
    except TfoptError:
        runtime.close()
        raise
    return runtime


def _open(path: Path, manifest: Manifest | None, choice: RuntimeChoice, cores: int) -> Runtime:
    has_saved_model = any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt"))
    beside = _beside(path, manifest, choice, has_saved_model)
    if beside is None:
        if not has_saved_model:
            raise InvalidModel(
                "there is no SavedModel", where=str(path), hint="serve what there is with --runtime auto"
            )
        return _open_tensorflow(path, cores)
    runtime = _open_file(path / beside, cores)
    return runtime if manifest is None else _WithManifest(runtime, path, manifest, cores if has_saved_model else None)


def _beside(path: Path, manifest: Manifest | None, choice: RuntimeChoice, has_saved_model: bool) -> str | None:
    """The file that serves; None is the SavedModel."""
    for runtime, kind, file in _BESIDE:
        exists = (path / file).is_file()
        passed = exists and (manifest is None or kind in manifest.artifacts)
        if choice == runtime and not passed:
            state = "has not passed the gate, says the manifest" if exists else "is not there"
            raise InvalidModel(f"{file} {state}", where=str(path), hint="serve it with --runtime auto or tensorflow")
        # Without a manifest nobody has compared the artifacts, so the SavedModel is the model.
        if passed and (choice == runtime or (choice == "auto" and (manifest is not None or not has_saved_model))):
            return file
    return None


def _open_file(path: Path, cores: int) -> Runtime:
    return _open_onnx(path, cores) if path.suffix == ".onnx" else _open_litert(path, cores)


def _open_onnx(path: Path, cores: int) -> Runtime:
    from tfopt.runtimes.onnxruntime import ONNXRuntime

    # As for LiteRT; threads within a run would spin on the cores of the runs beside it.
    return ONNXRuntime(path, threads=1, at_once=cores)


def _open_litert(path: Path, cores: int) -> Runtime:
    from tfopt.runtimes.litert import LiteRTRuntime

    # One single-threaded interpreter a core serves more requests a second than one interpreter on all cores.
    return LiteRTRuntime(path, threads=1, interpreters=cores)


def _open_tensorflow(path: Path, cores: int) -> Runtime:
    from tfopt.runtimes.tensorflow import TensorFlowRuntime

    return TensorFlowRuntime(path, threads=cores)


class _WithManifest(Closing):
    """A .tflite or .onnx under the contract of the SavedModel that it was made from.

    The signatures are the manifest's, with TensorFlow's names and shapes. Those that the file lacks are run by
    TensorFlow, which is loaded at the first request for one; `cores` is None when there is no SavedModel to load.
    """

    def __init__(self, runtime: Runtime, path: Path, manifest: Manifest, cores: int | None) -> None:
        self.kind = runtime.kind
        self._runtime = runtime
        self._path = path
        self._cores = cores
        self._tensorflow: Runtime | None = None
        self._lock = Lock()
        known = _signatures(path, manifest)
        self.signatures: Mapping[str, SignatureInfo] = {
            key: info for key, info in known.items() if cores is not None or key in runtime.signatures
        }

    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if signature in self._runtime.signatures:
            return self._runtime.run(signature, inputs)
        find_signature(self.signatures, signature)
        return self._fallback().run(signature, inputs)

    def _fallback(self) -> Runtime:
        with self._lock:
            if self._tensorflow is None:
                assert self._cores is not None
                self._tensorflow = _open_tensorflow(self._path, self._cores)
            return self._tensorflow

    def close(self) -> None:
        self._runtime.close()
        if self._tensorflow is not None:
            self._tensorflow.close()


def _signatures(path: Path, manifest: Manifest) -> dict[str, SignatureInfo]:
    try:
        return {key: SignatureInfo.from_dict(data) for key, data in manifest.signatures.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidModel(f"the signatures in the manifest cannot be read: {error!r}", where=str(path)) from error


def _warm_up(runtime: Runtime, path: Path) -> None:
    from tfopt.formats.warmup import WARMUP_PATH, read_warmup

    records = path / WARMUP_PATH
    if not records.is_file():
        return
    for index, request in enumerate(read_warmup(records)):
        try:
            runtime.run(request.signature, request.inputs)
        except TfoptError as error:
            raise InvalidModel(f"warmup request {index} fails: {error}", where=str(records)) from error
