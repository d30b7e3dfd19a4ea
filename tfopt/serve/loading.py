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

RuntimeChoice = Literal["auto", "tensorflow", "litert"]

TFLITE = "model.tflite"


def load_version(path: Path, choice: RuntimeChoice, cores: int) -> Runtime:
    """Verify the files against the manifest, load what `choice` and the manifest say, replay the warmup requests.

    `auto` takes LiteRT for a `model.tflite` that the manifest says has passed the gate, or that stands alone, and
    else TensorFlow. Raises InvalidModel and what the runtimes raise.
    """
    if path.is_file():
        return _open_litert(path, cores)
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
    if not _takes_litert(path, manifest, choice, has_saved_model):
        if not has_saved_model:
            raise InvalidModel("there is no SavedModel", where=str(path), hint="serve a .tflite with --runtime auto")
        return _open_tensorflow(path, cores)
    litert = _open_litert(path / TFLITE, cores)
    return litert if manifest is None else _WithManifest(litert, path, manifest, cores if has_saved_model else None)


def _takes_litert(path: Path, manifest: Manifest | None, choice: RuntimeChoice, has_saved_model: bool) -> bool:
    exists = (path / TFLITE).is_file()
    passed = exists and (manifest is None or "tflite" in manifest.artifacts)
    if choice == "litert" and not passed:
        state = "has not passed the gate, says the manifest" if exists else "is not there"
        raise InvalidModel(f"{TFLITE} {state}", where=str(path), hint="serve it with --runtime auto or tensorflow")
    # Without a manifest nobody has compared the two artifacts, so the SavedModel is the model.
    return passed and (choice == "litert" or (choice == "auto" and (manifest is not None or not has_saved_model)))


def _open_litert(path: Path, cores: int) -> Runtime:
    from tfopt.runtimes.litert import LiteRTRuntime

    # One single-threaded interpreter a core serves more requests a second than one interpreter on all cores.
    return LiteRTRuntime(path, threads=1, interpreters=cores)


def _open_tensorflow(path: Path, cores: int) -> Runtime:
    from tfopt.runtimes.tensorflow import TensorFlowRuntime

    return TensorFlowRuntime(path, threads=cores)


class _WithManifest(Closing):
    """A .tflite under the contract of the SavedModel that it was made from.

    The signatures are the manifest's, with TensorFlow's names and shapes. Those that the .tflite lacks are run by
    TensorFlow, which is loaded at the first request for one; `cores` is None when there is no SavedModel to load.
    """

    kind = "tflite"

    def __init__(self, litert: Runtime, path: Path, manifest: Manifest, cores: int | None) -> None:
        self._litert = litert
        self._path = path
        self._cores = cores
        self._tensorflow: Runtime | None = None
        self._lock = Lock()
        known = _signatures(path, manifest)
        self.signatures: Mapping[str, SignatureInfo] = {
            key: info for key, info in known.items() if cores is not None or key in litert.signatures
        }

    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if signature in self._litert.signatures:
            return self._litert.run(signature, inputs)
        find_signature(self.signatures, signature)
        return self._fallback().run(signature, inputs)

    def _fallback(self) -> Runtime:
        with self._lock:
            if self._tensorflow is None:
                assert self._cores is not None
                self._tensorflow = _open_tensorflow(self._path, self._cores)
            return self._tensorflow

    def close(self) -> None:
        self._litert.close()
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
