"""Where an artifact's time goes, op by op, beside what the machine could do at most."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfopt.measure.artifacts import Found
from tfopt.measure.inputs import Batch
from tfopt.measure.layers import original_layers
from tfopt.measure.peaks import Peaks, measure_peaks
from tfopt.runtimes.edges import ready
from tfopt.runtimes.trace import OpTime, Trace, Tracer, seconds_of
from tfopt.words import Tell

if TYPE_CHECKING:
    from tfopt.ir.graph import Graph

#: Calls that are traced, and as many that are not, in turns: fewer where they would take longer than this.
CALLS: Final = 40
_FEWEST: Final = 8
_SECONDS: Final = 10.0
_WARM_UP: Final = 3
#: Traces of which the calmest counts, while all together take less than this.
_TRACES: Final = 5
_SECONDS_OF_TRACES: Final = 8.0


@dataclass(frozen=True, slots=True)
class ProfiledOp:
    """One op with the original's layers that it computes."""

    time: OpTime
    layers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self.time), "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ProfiledOp:
        figures = {name: value for name, value in data.items() if name not in ("layers", "covers")}
        return cls(OpTime(covers=tuple(data["covers"]), **figures), tuple(data["layers"]))


@dataclass(frozen=True)
class ArtifactProfile:
    """The ops of one artifact. `seconds` is an untraced call's (`calm`), `covered` the share of it that the ops add up
    to, `trace_cost` the seconds that tracing one op takes where that was taken off."""

    name: str
    kind: str
    seconds: float
    ops: tuple[ProfiledOp, ...]
    trace_cost: float = 0.0

    @property
    def covered(self) -> float:
        return sum(op.time.seconds for op in self.ops) / self.seconds

    @property
    def macs(self) -> int:
        return sum(op.time.macs or 0 for op in self.ops)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "seconds": self.seconds,
            "covered": self.covered,
            "macs": self.macs,
            "trace_cost": self.trace_cost,
            "ops": [op.to_dict() for op in self.ops],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArtifactProfile:
        ops = tuple(ProfiledOp.from_dict(op) for op in data["ops"])
        return cls(data["name"], data["kind"], data["seconds"], ops, data.get("trace_cost", 0.0))


@dataclass(frozen=True)
class Profile:
    """All artifacts at one batch size and one number of threads, and the machine's peaks at that number."""

    batch_size: int
    peaks: Peaks
    artifacts: tuple[ArtifactProfile, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "peaks": self.peaks.to_dict(),
            "artifacts": [artifact.to_dict() for artifact in self.artifacts],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        artifacts = tuple(ArtifactProfile.from_dict(artifact) for artifact in data["artifacts"])
        return cls(data["batch_size"], Peaks(**data["peaks"]), artifacts)


def profile(
    found: Sequence[Found],
    names: Sequence[str],
    *,
    signature: str,
    inputs: Batch,
    batch_size: int,
    threads: int,
    tell: Tell = lambda text: None,
) -> Profile:
    """Trace every artifact on the same inputs. Layers are called by the names of the first SavedModel among them.

    Raises what the runtimes raise, and ExecutionError for a .tflite file whose ops cannot be timed.
    """
    original = _original(found)
    artifacts = []
    for each, name in zip(found, names, strict=True):
        tell(f"tracing {name}")
        tracer = open_tracer(each, threads)
        artifacts.append(_profiled(tracer, name, each.kind, original, signature, inputs))
    tell("measuring what the machine can do at most")
    return Profile(batch_size, measure_peaks(threads), tuple(artifacts))


def share_of_peak(op: OpTime, peaks: Peaks) -> float | None:
    """Of the machine's fastest product of matrices, in the op's own arithmetic; None for an op without products."""
    peak = peaks.int8_macs if op.integer else peaks.float_macs
    if not op.macs or peak is None or op.seconds <= 0:
        return None
    return op.macs / op.seconds / peak


def open_tracer(found: Found, threads: int) -> Tracer:
    """Raises what the runtime raises for a file that it cannot load."""
    if found.kind == "saved_model":
        from tfopt.runtimes.tensorflow_trace import TensorFlowTracer

        return TensorFlowTracer(found.path, threads=threads)
    if found.kind == "onnx":
        from tfopt.runtimes.onnxruntime_trace import ONNXTracer

        return ONNXTracer(found.path, threads=threads)
    from tfopt.runtimes.litert_trace import LiteRTTracer

    return LiteRTTracer(found.path, threads=threads)


def _profiled(
    tracer: Tracer, name: str, kind: str, original: Graph | None, signature: str, inputs: Batch
) -> ArtifactProfile:
    with tracer.runtime as runtime:
        inputs = ready(runtime, signature, inputs)
        quickest = min(seconds_of(lambda: runtime.run(signature, inputs)) for _ in range(_WARM_UP))
        trace = _calmest(tracer, signature, inputs, max(_FEWEST, min(CALLS, int(_SECONDS / quickest / 2))))
    ops = tuple(_profiled_op(op, original) for op in trace.ops)
    return ArtifactProfile(name, kind, trace.seconds, ops, trace.cost)


def _calmest(tracer: Tracer, signature: str, inputs: Batch, calls: int) -> Trace:
    """Of several traces the one with the least time, traced and untraced: what else the machine does only adds, and
    for longer than a trace of short calls takes."""
    end = time.perf_counter() + _SECONDS_OF_TRACES
    traces = [tracer.trace(signature, inputs, calls)]
    while len(traces) < _TRACES and time.perf_counter() < end:
        traces.append(tracer.trace(signature, inputs, calls))
    return min(traces, key=lambda trace: trace.seconds + sum(op.seconds for op in trace.ops))


def _profiled_op(op: OpTime, original: Graph | None) -> ProfiledOp:
    if original is None:
        return ProfiledOp(op, ())
    return ProfiledOp(op, original_layers(original, op.covers or (op.name,), linear=bool(op.macs)))


def _original(found: Sequence[Found]) -> Graph | None:
    path = next((each.path for each in found if each.kind == "saved_model"), None)
    if path is None:
        return None
    from tfopt.formats.saved_model import read_saved_model

    return read_saved_model(Path(path)).graph
