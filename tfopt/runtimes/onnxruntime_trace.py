"""Trace calls of a .onnx file with ONNX Runtime's own profiler."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from tfopt.runtimes.base import arguments, find_signature
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.runtimes.trace import OpTime, calm_ops

_SUFFIX = "_kernel_time"
_ITEMSIZE = {"float": 4, "double": 8, "float16": 2, "bfloat16": 2, "bool": 1}
#: Bits behind the names of ONNX's integers: int8, uint64.
_BITS = 8


class ONNXTracer:
    """A .onnx file whose ops say how long they took. `runtime` runs it without that."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self.runtime = ONNXRuntime(path, threads=threads)
        self._threads = threads

    def trace(self, signature: str, inputs: Mapping[str, NDArray[Any]], repeats: int) -> list[OpTime]:
        """As `Tracer.trace`; kernels that pad channels count the padding. Raises NotFound for an unknown signature."""
        info = find_signature(self.runtime.signatures, signature)
        feeds = dict(arguments(info, inputs))
        with tempfile.TemporaryDirectory(prefix="tfopt-") as directory:
            session = self._session(self.runtime.path_of(signature), directory)
            for _ in range(repeats):
                session.run(list(info.outputs), feeds)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        ran = [_op_time(event) for event in events if event.get("name", "").endswith(_SUFFIX)]
        # Every call runs the same ops, so that each is an equal part of what was recorded.
        count = len(ran) // repeats
        return calm_ops(ran[start : start + count] for start in range(0, count * repeats, count))

    def _session(self, path: Path, directory: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or 0
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(directory, "profile"))
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _op_time(event: Mapping[str, Any]) -> OpTime:
    told = event["args"]
    name = event["name"].removesuffix(_SUFFIX)
    read, made = told.get("input_type_shape", []), told.get("output_type_shape", [])
    return OpTime(
        name=name,
        op=told["op_name"],
        seconds=event["dur"] / 1e6,
        covers=(name,),
        macs=_macs(told["op_name"], read, made),
        bytes=sum(map(_bytes, (*read, *made))),
        integer=bool(read) and next(iter(read[0]), "") in ("int8", "uint8"),
    )


def _macs(op: str, read: Sequence[Any], made: Sequence[Any]) -> int:
    """Multiply-accumulates of a linear op, from its shapes; 0 for all others, as the pruning literature counts."""
    if len(read) < 2 or not made:
        return 0
    outputs, left, right = prod(_dims(made[0])), _dims(read[0]), _dims(read[1])
    if op in ("Conv", "FusedConv"):
        return outputs * prod(right[1:])
    return outputs * left[-1] if op in ("MatMul", "Gemm", "FusedMatMul") and left else 0


def _dims(end: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    return tuple(next(iter(end.values()), ()))


def _bytes(end: Mapping[str, Sequence[int]]) -> int:
    kind = next(iter(end), "")
    bits = kind.lstrip("uint")
    return prod(_dims(end)) * _ITEMSIZE.get(kind, int(bits) // _BITS if bits.isdecimal() else 0)
