"""Trace calls of a .onnx file with ONNX Runtime's own profiler.

It writes a record for every op, those in a loop's body included, and the time of a loop holds what its body takes. To
write one takes some microseconds, a part of them within the op's own time and all of them within the loop's, where an
op of a body may take but a tenth of that. So an op has what it takes besides the ops in it, and less what the records
cost: the difference between a traced call and one that is not, for each record. Of that, what lies between ops is seen
in the records, and what is left was within them. Every record is charged alike, so that an op that was not recorded is
missing in the sum.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tfopt.errors import ExecutionError
from tfopt.runtimes.base import arguments, find_signature
from tfopt.runtimes.onnxruntime import ONNXRuntime, session_options
from tfopt.runtimes.spans import holders, leads, tails
from tfopt.runtimes.trace import QUARTER, OpTime, Trace, added_up, calm, in_turns

_SUFFIX = "_kernel_time"
_ITEMSIZE = {"float": 4, "double": 8, "float16": 2, "bfloat16": 2, "bool": 1}
#: Bits behind the names of ONNX's integers: int8, uint64.
_BITS = 8
#: What ONNX Runtime writes at the end of a call.
_CALL = "model_run"
#: Of all calls together: a record is about a kilobyte, and ONNX Runtime drops those behind the first million.
_MOST_RECORDS = 100_000
_FEWEST_CALLS = 4

Record = Mapping[str, Any]


class ONNXTracer:
    """A .onnx file whose ops say how long they took. `runtime` runs it without that."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self.runtime = ONNXRuntime(path, threads=threads)
        self._threads = threads

    def trace(self, signature: str, inputs: Mapping[str, NDArray[Any]], repeats: int) -> Trace:
        """As `Tracer.trace`; kernels that pad channels count the padding. Raises NotFound for an unknown signature,
        ExecutionError for a call of more ops than ONNX Runtime records."""
        info = find_signature(self.runtime.signatures, signature)
        feeds = dict(arguments(info, inputs))
        _, (alone,) = self._calls(signature, feeds, 1)
        repeats = min(repeats, max(_FEWEST_CALLS, _MOST_RECORDS // len(alone)))
        untraced, calls = self._calls(signature, feeds, repeats)
        seconds = calm(untraced)
        ops, cost = _untangled(calls, seconds)
        return Trace(ops, seconds, cost)

    def _calls(self, signature: str, feeds: Mapping[str, Any], repeats: int) -> tuple[list[float], list[list[Record]]]:
        """Seconds of untraced calls, and the records of traced ones in turns with them."""
        with tempfile.TemporaryDirectory(prefix="tfopt-") as directory:
            session = self._session(self.runtime.path_of(signature), directory)
            names = list(self.runtime.signatures[signature].outputs)
            session.run(names, feeds)
            untraced, _ = in_turns(
                lambda: self.runtime.run(signature, feeds), lambda: session.run(names, feeds), repeats
            )
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        calls = _records(events)[1:]
        if len(calls) != repeats:
            raise ExecutionError(
                "a call runs more ops than ONNX Runtime records",
                where=f"signature {signature}",
                hint="trace it on an input of fewer steps",
            )
        return untraced, calls

    def _session(self, path: Path, directory: str) -> onnxruntime.InferenceSession:
        options = session_options(self._threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(directory, "profile"))
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _records(events: Iterable[Record]) -> list[list[Record]]:
    """Call by call the record of the call itself, then those of its ops in the order in which they ran. A call that has
    not been recorded to its end is left out."""
    calls: list[list[Record]] = []
    ops: list[Record] = []
    for event in events:
        if event.get("name") == _CALL:
            calls.append([event, *sorted(ops, key=lambda record: (record["ts"], -record["dur"]))])
            ops = []
        elif event.get("name", "").endswith(_SUFFIX):
            ops.append(event)
    return calls


def _untangled(calls: Sequence[Sequence[Record]], untraced: float) -> tuple[list[OpTime], float]:
    """The ops by name without what recording them took, and what that was for each record, in seconds. Time of the
    call that lies between its ops is no op's."""
    first = calls[0]
    alike = [call for call in calls if [each["name"] for each in call] == [each["name"] for each in first]]
    starts = np.array([[record["ts"] for record in call] for call in alike], np.int64)
    ends = starts + np.array([[record["dur"] for record in call] for call in alike], np.int64)
    held_by = holders(list(zip(starts[0].tolist(), ends[0].tolist(), strict=True)))
    calm_part = _quicker_half if any(held_by) else _quickest_calls
    lead, own = np.split(calm_part(np.concatenate([leads(starts, ends, held_by), tails(starts, ends, held_by)], 1)), 2)
    between = _middle(lead)
    within = _within((lead.sum() + own.sum() - untraced) / len(first), between)
    looping = set(held_by) - {None, 0}
    for place, holder in enumerate(held_by):
        if holder:
            own[holder] += lead[place] - between
    ops = (
        replace(_op_time(record), seconds=seconds - within, estimated=bool(holder) or place in looping)
        for place, (record, seconds, holder) in enumerate(zip(first, own.tolist(), held_by, strict=True))
        if place
    )
    return list(added_up(ops).values()), between + within


def _within(cost: float, between: float) -> float:
    """Seconds of a record's cost that are in the op's own time: what is left when the time between ops is taken off.
    Beyond twice that time it is none of the record: the machine was busier while it traced."""
    return min(max(cost - between, 0.0), 2 * between)


def _quickest_calls(microseconds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds of each span, as `calm` does for untraced calls: the mean of the quickest quarter of the calls."""
    kept = microseconds[np.argsort(microseconds.sum(axis=1))][: max(1, len(microseconds) // QUARTER)]
    return np.asarray(kept.mean(axis=0) / 1e6)


def _quicker_half(microseconds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds of each span, the mean of the quicker half for itself. Tracing a loop takes many times what running it
    does: where the machine is busy hardly a traced call comes through undisturbed, but most of its spans do."""
    kept = np.sort(microseconds, axis=0)[: (len(microseconds) + 1) // 2]
    return np.asarray(kept.mean(axis=0) / 1e6)


def _middle(values: NDArray[np.float64]) -> float:
    """The mean of the middle half."""
    quarter = len(values) // 4
    return float(np.sort(values)[quarter : len(values) - quarter].mean()) if len(values) else 0.0


def _op_time(event: Record) -> OpTime:
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
