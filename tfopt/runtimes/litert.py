"""Run a .tflite file under LiteRT, without TensorFlow."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import ExecutionError, InvalidModel, MissingExtra, UnsupportedModel
from tfopt.formats.native_stderr import without_lines
from tfopt.ir import DType, Shape, TensorType
from tfopt.ir.grid import Grid
from tfopt.runtimes.base import (
    PREDICT,
    Closing,
    SignatureInfo,
    TensorInfo,
    arguments,
    check_shapes,
    edge_grid,
    failure,
    find_signature,
    timed_out,
)

try:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.schema_py_generated import Model as File

    from tfopt.runtimes.litert_metadata import NamedTensors, metadata_signatures
except ModuleNotFoundError as error:
    raise MissingExtra.of("ai-edge-litert", "litert", "running a .tflite file") from error

#: What LiteRT says on stderr of every interpreter.
NOISE = re.compile("INFO: Created TensorFlow Lite XNNPACK delegate")
#: The signature of a file that has none, as TensorFlow Serving calls it.
_MOCK_SIGNATURE = "serving_default"
#: What may stand for real numbers at the edges.
_LEVELS = (DType.INT8, DType.UINT8, DType.INT16)


class _Runner(Protocol):
    """LiteRT's SignatureRunner: one signature of one interpreter."""

    def get_input_details(self) -> dict[str, dict[str, Any]]: ...
    def get_output_details(self) -> dict[str, dict[str, Any]]: ...
    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]: ...


class LiteRTRuntime(Closing):
    """A .tflite file and up to `interpreters` interpreters, so that as many runs may go on at once.

    `threads`: of one interpreter; None is LiteRT's own choice, which is one. A file without signatures gets one
    called serving_default, with the tensors' names, unless its metadata has some (TensorFlow Serving does the same).
    """

    kind = "tflite"

    def __init__(
        self, path: Path, *, threads: int | None = None, interpreters: int = 1, enforce_shapes: bool = True
    ) -> None:
        """Raises InvalidModel for what is no TFLite file, UnsupportedModel for ops that LiteRT lacks."""
        self._path = path
        # Read once: a later interpreter must be of this model also when another file has come to its place.
        self._content = _read(path)
        self._threads = threads
        self._enforce_shapes = enforce_shapes
        self._closed = threading.Event()
        first = self._make_runners()
        self.signatures: Mapping[str, SignatureInfo] = _signatures(first, _unranked(self._content))
        # Interpreters are made when they are needed (None until then), and the one used last is used first.
        self._idle: LifoQueue[dict[str, _Runner] | None] = LifoQueue()
        for _ in range(interpreters - 1):
            self._idle.put(None)
        self._idle.put(first)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Outputs by name, copied out of the interpreter. Unknown dimensions may change from run to run.

        Raises NotFound for an unknown signature, ExecutionError for inputs that do not fit it and for LiteRT's own.
        """
        info = find_signature(self.signatures, signature)
        values = {name: np.asarray(value) for name, value in arguments(info, inputs).items()}
        if self._enforce_shapes:
            check_shapes(info, values)
        with self._interpreter(timeout) as runners:
            try:
                made = runners[signature](**values)
            # OverflowError: a dimension beyond 32 bits, which a tensor without elements may have.
            except (ValueError, RuntimeError, OverflowError) as error:
                raise failure(signature, info, values, str(error)) from error
        return made if outputs is None else {name: made[name] for name in outputs}

    def runner(self, signature: str) -> _Runner:
        """LiteRT's own call of a signature, in an interpreter of its own. Raises NotFound."""
        find_signature(self.signatures, signature)
        return self._make_runners()[signature]

    def close(self) -> None:
        """Free the idle interpreters; those at work are freed when they are done."""
        self._closed.set()
        for _ in range(self._idle.qsize()):
            self._idle.get()
            self._idle.put(None)

    @contextmanager
    def _interpreter(self, timeout: float | None = None) -> Iterator[dict[str, _Runner]]:
        try:
            runners = self._idle.get(timeout=timeout)
        except Empty as error:
            raise timed_out(timeout) from error
        try:
            if self._closed.is_set():
                raise ExecutionError("the model has been closed")
            runners = runners or self._make_runners()
            yield runners
        except ExecutionError:
            # An interpreter that has failed repeats its old errors in each new one.
            runners = None
            raise
        finally:
            self._idle.put(None if self._closed.is_set() else runners)

    def _make_runners(self) -> dict[str, _Runner]:
        where = str(self._path)
        try:
            with without_lines(NOISE):
                interpreter = Interpreter(model_content=self._content, num_threads=self._threads)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            said = _one_line(error)
            if "custom op" in said or "Select TensorFlow op" in said:
                raise UnsupportedModel(f"LiteRT lacks an op of this file: {said}", where=where) from error
            raise InvalidModel(f"LiteRT cannot load the file: {said}", where=where) from error
        keys = interpreter.get_signature_list()
        if not keys:
            named = metadata_signatures(self._content, where)
            if not named:
                return {_MOCK_SIGNATURE: _WholeGraph(interpreter)}
            return {key: _WholeGraph(interpreter, _known(named[key], interpreter, where)) for key in sorted(named)}
        return {key: interpreter.get_signature_runner(key) for key in sorted(keys)}


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidModel(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    if not content:
        raise InvalidModel("the file is empty", where=str(path))
    return content


class _WholeGraph:
    """What a SignatureRunner is, for a file without signatures: its first subgraph, by the tensors' names, or as a
    signature in the file's metadata calls them."""

    def __init__(self, interpreter: Any, named: NamedTensors | None = None) -> None:
        self._interpreter = interpreter
        self._inputs = _by_name(interpreter.get_input_details())
        self._outputs = _by_name(interpreter.get_output_details())
        self.method_name = PREDICT
        if named is not None:
            self._inputs = {name: self._inputs[tensor] for name, tensor in named.inputs.items()}
            self._outputs = {name: self._outputs[tensor] for name, tensor in named.outputs.items()}
            self.method_name = named.method_name

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        return self._inputs

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        return self._outputs

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        for name, value in inputs.items():
            self._interpreter.resize_tensor_input(self._inputs[name]["index"], value.shape)
        self._interpreter.allocate_tensors()
        for name, value in inputs.items():
            self._interpreter.set_tensor(self._inputs[name]["index"], value)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(details["index"]) for name, details in self._outputs.items()}


def _known(named: NamedTensors, interpreter: Any, where: str) -> NamedTensors:
    """Raises InvalidModel for a signature that names tensors which are no inputs or outputs of the file."""
    inputs, outputs = _by_name(interpreter.get_input_details()), _by_name(interpreter.get_output_details())
    missing = {*named.inputs.values()} - inputs.keys() | {*named.outputs.values()} - outputs.keys()
    if missing:
        what = f"the signatures in its metadata name tensors that it has not got: {', '.join(sorted(missing))}"
        raise InvalidModel(what, where=where)
    return named


def _by_name(tensors: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {details["name"].removesuffix(":0"): details for details in tensors}


def _signatures(runners: Mapping[str, _Runner], unranked: frozenset[tuple[str, str]]) -> dict[str, SignatureInfo]:
    def infos(key: str, tensors: Mapping[str, dict[str, Any]]) -> dict[str, TensorInfo]:
        return {name: _tensor_info(tensors[name], (key, tensors[name]["name"]) in unranked) for name in sorted(tensors)}

    return {
        key: SignatureInfo(
            infos(key, runner.get_input_details()),
            infos(key, runner.get_output_details()),
            # A file of today tells no method, and TensorFlow Serving takes Predict.
            runner.method_name if isinstance(runner, _WholeGraph) else PREDICT,
        )
        for key, runner in runners.items()
    }


def _tensor_info(details: Mapping[str, Any], unranked: bool) -> TensorInfo:
    dims = tuple(None if dim < 0 else int(dim) for dim in details["shape_signature"])
    dtype = DType.STRING if details["dtype"] is np.bytes_ else DType(np.dtype(details["dtype"]).name)
    return TensorInfo(details["name"], TensorType(dtype, Shape(None if unranked else dims)), _grid(details, dtype))


def _grid(details: Mapping[str, Any], dtype: DType) -> Grid | None:
    """Of integers that stand for real numbers. A tensor without a scale has none here, or 0."""
    scale, zero_point = details["quantization"]
    return edge_grid(dtype, scale, zero_point) if scale and dtype in _LEVELS else None


def _unranked(content: bytes) -> frozenset[tuple[str, str]]:
    """Signature and name of the tensors whose rank the file leaves open, which LiteRT's API shows as scalars."""
    model = File.GetRootAs(content)
    found = set()
    for signature in map(model.SignatureDefs, range(model.SignatureDefsLength())):
        graph = model.Subgraphs(signature.SubgraphIndex())
        ends = [signature.Inputs(i) for i in range(signature.InputsLength())]
        ends += [signature.Outputs(i) for i in range(signature.OutputsLength())]
        tensors = [graph.Tensors(end.TensorIndex()) for end in ends]
        key = signature.SignatureKey().decode()
        found |= {(key, tensor.Name().decode()) for tensor in tensors if not (tensor.HasRank() or tensor.ShapeLength())}
    return frozenset(found)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
