"""Run .onnx files under ONNX Runtime, without TensorFlow and without the package onnx."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from threading import Semaphore
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import ExecutionError, InvalidModel, MissingExtra, UnsupportedModel
from tfopt.ir import DType, Shape, TensorType
from tfopt.ir.tensor_json import tensor_from_dict
from tfopt.runtimes.base import (
    Closing,
    SignatureInfo,
    TensorInfo,
    arguments,
    check_shapes,
    failure,
    find_signature,
    timed_out,
)

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
except ModuleNotFoundError as error:
    raise MissingExtra.of("onnxruntime", "onnx", "running a .onnx file") from error

from tfopt.runtimes.onnxruntime_integers import saturates
from tfopt.store.onnx_files import onnx_files

#: Where tfopt tells, in a file's metadata, which signatures there are, and in which file each of them.
_SIGNATURES = "tfopt.signatures"
#: What a file without signatures is asked for as, like a .tflite file without.
_MOCK_SIGNATURE = "serving_default"
_ERRORS = 3
#: ONNX Runtime's errors have no common base but Exception.
_LACKS = (state.NotImplemented, state.NoModel)
_FAILURES = (
    state.EPFail, state.EngineError, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
    state.NoSuchFile, state.RuntimeException, *_LACKS,
)  # fmt: skip
#: Runs at one time where there is no limit.
_UNLIMITED = 1 << 30
_NUMPY = {"float": "float32", "double": "float64"}


class ONNXRuntime(Closing):
    """A .onnx file, and those beside it that hold the model's other signatures.

    `threads`: within one op; None is ONNX Runtime's own choice, one for each core. `at_once`: runs that compute at one
    time, each of them with these threads; None is as many as call. `in_memory`: weights beside the file are read, not
    mapped: a mapped file that is cut off later, as when another one is copied over it, ends the process.
    """

    kind = "onnx"

    def __init__(
        self, path: Path, *, threads: int | None = None, at_once: int | None = None, in_memory: bool = False
    ) -> None:
        """Raises InvalidModel for what is no ONNX file, UnsupportedModel for ops and types that ONNX Runtime lacks."""
        self._path = path
        self._turn = Semaphore(_UNLIMITED if at_once is None else at_once)
        weights = _weights(path) if in_memory else {}
        first = _session(path, threads, weights)
        told = _told(first, path)
        sessions = {path.name: first}
        for name in {entry["file"] for entry in told.values()} - sessions.keys():
            sessions[name] = _session(path.with_name(Path(name).name), threads, weights)
        self._files = {key: path.with_name(entry["file"]) for key, entry in told.items()}
        self._sessions = {key: sessions[entry["file"]] for key, entry in told.items()}
        self.signatures: Mapping[str, SignatureInfo] = {
            key: _signature(self._sessions[key], entry, path) for key, entry in told.items()
        }

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Outputs by name. Raises NotFound for an unknown signature, ExecutionError for inputs that do not fit it and
        for ONNX Runtime's own."""
        info = find_signature(self.signatures, signature)
        session = self._sessions.get(signature)
        if session is None:
            raise ExecutionError("the model has been closed")
        values = {name: np.asarray(value) for name, value in arguments(info, inputs).items()}
        check_shapes(info, values)
        feeds = {
            name: _decoded(name, value) if info.inputs[name].type.dtype is DType.STRING else value
            for name, value in values.items()
        }
        wanted = list(info.outputs if outputs is None else outputs)
        if not self._turn.acquire(timeout=timeout):
            raise timed_out(timeout)
        try:
            results = session.run(wanted, feeds)
        except (*_FAILURES, ValueError, TypeError) as error:
            raise failure(signature, info, values, str(error)) from error
        finally:
            self._turn.release()
        return {name: _encoded(array, info.outputs[name].type) for name, array in zip(wanted, results, strict=True)}

    def path_of(self, signature: str) -> Path:
        """The file of a signature. Raises NotFound."""
        find_signature(self.signatures, signature)
        return self._files[signature]

    def close(self) -> None:
        """Free the sessions; runs that go on keep theirs."""
        self._sessions = {}


def session_options(threads: int | None) -> onnxruntime.SessionOptions:
    """What every session here is made with. Where 8-bit products saturate, ONNX Runtime is told to multiply unsigned
    bytes alone, by slower kernels that do not; weights of 7 bits keep the others. It would do so with VNNI as well.

    Source: onnxruntime_session_options_config_keys.h (kOrtSessionOptionsAvx2PrecisionMode).
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = threads or 0
    if saturates():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _weights(path: Path) -> dict[str, bytes]:
    """The contents of the files beside it that hold weights, by the names that it has for them."""
    files = [file for file in onnx_files(path) if file.suffix != ".onnx" and file.is_file()]
    try:
        return {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in files}
    except OSError as error:
        raise InvalidModel(f"the weights cannot be read: {error.strerror}", where=str(error.filename)) from error


def _session(path: Path, threads: int | None, weights: Mapping[str, bytes]) -> onnxruntime.InferenceSession:
    options = session_options(threads)
    # ONNX Runtime has this since 1.23; before, it always maps.
    give = getattr(options, "add_external_initializers_from_files_in_memory", None)
    if weights and give is not None:
        give(list(weights), list(weights.values()), [len(content) for content in weights.values()])
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _LACKS as error:
        raise UnsupportedModel(f"ONNX Runtime lacks an op: {_one_line(error)}", where=str(path)) from error
    except _FAILURES as error:
        raise InvalidModel(f"ONNX Runtime cannot load the file: {_one_line(error)}", where=str(path)) from error


def _told(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    """What the metadata says of each signature. A file of other makers is one signature."""
    text = session.get_modelmeta().custom_metadata_map.get(_SIGNATURES)
    if text is None:
        return {_MOCK_SIGNATURE: {"file": path.name, "defaults": {}}}
    told: dict[str, Any] = json.loads(text)
    # A file that has been renamed is still the one that holds its own signatures.
    own = next(iter(told.values()))["file"]
    return {key: {**entry, "file": path.name if entry["file"] == own else entry["file"]} for key, entry in told.items()}


def _signature(session: onnxruntime.InferenceSession, entry: Mapping[str, Any], path: Path) -> SignatureInfo:
    defaults = {name: tensor_from_dict(value) for name, value in entry["defaults"].items()}
    overridable = [end for end in session.get_overridable_initializers() if end.name in defaults]
    return SignatureInfo(
        _infos([*session.get_inputs(), *overridable], path),
        _infos(session.get_outputs(), path),
        entry.get("method_name", SignatureInfo({}, {}).method_name),
        defaults,
    )


def _infos(ends: Iterable[Any], path: Path) -> dict[str, TensorInfo]:
    return {end.name: _info(end, path) for end in sorted(ends, key=lambda end: str(end.name))}


def _info(end: Any, path: Path) -> TensorInfo:
    kind = end.type.removeprefix("tensor(").removesuffix(")")
    name = _NUMPY.get(kind, kind)
    if not end.type.startswith("tensor(") or name not in DType._value2member_map_:
        raise UnsupportedModel(f"{end.name} is a {end.type}, no plain tensor", where=str(path))
    dims = tuple(dim if isinstance(dim, int) else None for dim in end.shape)
    return TensorInfo(end.name, TensorType(DType(name), Shape(dims)))


def _decoded(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """ONNX Runtime's strings are text."""
    try:
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.flat]
    except UnicodeDecodeError as error:
        raise ExecutionError(f"a string of the input {name} is not UTF-8, which ONNX Runtime asks for") from error
    return np.array(texts, object).reshape(array.shape)


def _encoded(array: NDArray[Any], kind: TensorType) -> NDArray[Any]:
    """Strings as bytes, as the other runtimes give them."""
    if kind.dtype is not DType.STRING:
        return array
    return np.array([item.encode() for item in array.flat], object).reshape(array.shape)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
