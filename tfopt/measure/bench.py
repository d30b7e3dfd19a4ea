"""`bench`: how fast, how large and how hungry are artifacts, beside each other?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tfopt.errors import UsageError
from tfopt.measure.artifacts import Found, find_artifacts, short_names
from tfopt.measure.difference import largest_difference
from tfopt.measure.footprint import Footprint, measure_footprint
from tfopt.measure.inputs import Batch, Opened, Plan, plan_inputs
from tfopt.measure.machine import BUSY_CORES, CpuClock, available_cores, describe_machine, other_cores
from tfopt.measure.series import percentiles, round_medians, speedup
from tfopt.measure.timing import Call, WarmUp, interleave, warm_up, without_garbage_collection
from tfopt.measure.values import ArtifactReport, Inputs, Report, Timing
from tfopt.store.size import measure_size

#: Hears in a few words what is being done now.
Tell = Callable[[str], None]

#: Warming up one artifact takes at most this share of the time that it is measured for, and at least a second.
WARM_UP_SHARE: Final = 0.5
#: Fresh processes for each artifact's load time and memory.
PROCESSES: Final = 2


def bench(
    paths: Sequence[str | Path],
    *,
    data: str | Path | None = None,
    signature: str | None = None,
    batch_sizes: Sequence[int] = (1,),
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    seconds: float = 5.0,
    threads: int | None = None,
    footprint: bool = True,
    tell: Tell = lambda text: None,
) -> Report:
    """Measure artifacts against the first of them, interleaved in this process.

    paths:       SavedModel directories, version directories (each artifact in it is one) and .tflite files.
    data:        samples by input name (.npz, .npy); else the model's warmup records, else synthetic ones.
    signature:   default serving_default, or the only one.
    batch_sizes: each is measured by itself.
    shapes:      whole shapes for inputs with unknown dimensions beside the batch; axis 0 is the batch (None or 1).
    seconds:     of measuring, per artifact and batch size; warming up and loading come on top.
    threads:     for every artifact alike; default all cores this process may use.
    footprint:   also measure load time and memory, each artifact in a fresh process.

    Raises UsageError, NotFound, InvalidModel, InvalidSamples and what the runtimes raise.
    """
    _check(paths, batch_sizes, seconds, threads)
    found = [artifact for path in paths for artifact in find_artifacts(Path(path))]
    names = short_names([artifact.path for artifact in found])
    cores = threads or available_cores()
    machine = describe_machine()
    with _opened(found, names, cores, tell) as opened:
        plan = plan_inputs(
            opened,
            signature=signature,
            data=None if data is None else Path(data),
            shapes=shapes or {},
            batch_sizes=batch_sizes,
        )
        smallest = plan.batches[batch_sizes[0]]
        differences, unequal = _differences(opened, plan.signature, smallest)
        sizes = [measure_size(each.path) for each in opened]
        footprints: list[Footprint | None] = [None] * len(opened)
        if footprint:
            footprints = _footprints(opened, plan.signature, smallest[0], cores, tell)
        timed = [_time(opened, plan, size, seconds, tell) for size in batch_sizes]
    columns = zip(opened, sizes, footprints, differences, *(timings for timings, _ in timed), strict=True)
    return Report(
        artifacts=tuple(
            ArtifactReport(each.name, each.path, each.runtime.kind, size, foot, difference, tuple(timings))
            for each, size, foot, difference, *timings in columns
        ),
        signature=plan.signature,
        inputs=Inputs(
            plan.samples.source,
            plan.samples.description,
            {name: array.shape for name, array in smallest[0].items()},
        ),
        batch_sizes=tuple(batch_sizes),
        threads=cores,
        seconds=seconds,
        machine=machine,
        warnings=(*plan.notes, *unequal, *(warning for _, warnings in timed for warning in warnings)),
    )


def _check(paths: Sequence[str | Path], batch_sizes: Sequence[int], seconds: float, threads: int | None) -> None:
    if isinstance(paths, (str, Path)) or not paths:
        raise UsageError("bench takes a list of at least one path")
    if not batch_sizes or any(size < 1 for size in batch_sizes):
        raise UsageError(f"batch size {min(batch_sizes, default=None)}", hint="a batch holds at least one example")
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"{seconds:g} seconds of measuring", hint="give a positive number")
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads", hint="give at least 1, or none for all cores")


@contextmanager
def _opened(found: Sequence[Found], names: Sequence[str], threads: int, tell: Tell) -> Iterator[list[Opened]]:
    from tfopt.runtimes.load import open_artifact

    with ExitStack() as stack:
        opened = []
        for artifact, name in zip(found, names, strict=True):
            tell(f"loading {name}")
            runtime = open_artifact(artifact.path, threads=threads)
            stack.callback(runtime.close)
            opened.append(Opened(name, artifact.path, runtime))
        yield opened


def _differences(
    opened: Sequence[Opened], signature: str, batches: Sequence[Batch]
) -> tuple[list[float | None], list[str]]:
    """Of each artifact to the first, and a warning for each that cannot be compared."""
    first, *others = ([each.runtime.run(signature, batch) for batch in batches] for each in opened)
    differences = [None, *(largest_difference(first, outputs) for outputs in others)]
    warnings = [
        f"the outputs of {each.name} are not comparable to {opened[0].name}'s: other names, other shapes or not finite"
        for each, difference in zip(opened[1:], differences[1:], strict=True)
        if difference is None
    ]
    return differences, warnings


def _footprints(
    opened: Sequence[Opened], signature: str, inputs: Batch, threads: int, tell: Tell
) -> list[Footprint | None]:
    """Of each artifact, from the quickest of its processes: whatever else ran can only have made it slower."""
    found: list[list[Footprint]] = [[] for _ in opened]
    for _ in range(PROCESSES):
        for each, measured in zip(opened, found, strict=True):
            tell(f"loading {each.name} in a fresh process")
            measured.append(measure_footprint(each.path, each.runtime.kind, signature, inputs, threads=threads))
    return [min(measured, key=lambda footprint: footprint.answer_seconds) for measured in found]


def _time(
    opened: Sequence[Opened], plan: Plan, batch_size: int, seconds: float, tell: Tell
) -> tuple[list[Timing], list[str]]:
    """One timing per artifact, in their order, and what makes them doubtful."""
    calls = [_call(each, plan.signature, plan.batches[batch_size]) for each in opened]
    with without_garbage_collection():
        warm: list[WarmUp] = []
        for each, call in zip(opened, calls, strict=True):
            tell(f"batch {batch_size}: warming up {each.name}")
            warm.append(warm_up(call, limit=max(1.0, WARM_UP_SHARE * seconds)))
        before = CpuClock.now()
        turns = interleave(
            calls,
            [each.seconds for each in warm],
            seconds=seconds * len(calls),
            tell=_by_quarters(f"batch {batch_size}: measuring", tell),
        )
        others = other_cores(before, CpuClock.now())
    medians = [round_medians(each) for each in turns]
    timings = [
        Timing(batch_size, percentiles(turn), own, steady=each.steady, speedup=speedup(medians[0], own))
        for turn, own, each in zip(turns, medians, warm, strict=True)
    ]
    timings[0] = replace(timings[0], speedup=None)
    return timings, _time_warnings(batch_size, opened, warm, others)


def _time_warnings(
    batch_size: int, opened: Sequence[Opened], warm: Sequence[WarmUp], others: float | None
) -> list[str]:
    warnings = [
        f"batch {batch_size}: {each.name} was still getting faster when its warm-up ended; give it more --seconds"
        for each, end in zip(opened, warm, strict=True)
        if not end.steady
    ]
    if others is not None and others > BUSY_CORES:
        warnings.append(
            f"batch {batch_size}: something else kept {others:.1f} cores busy: trust the ratios more than the times"
        )
    return warnings


def _by_quarters(what: str, tell: Tell) -> Callable[[float], None]:
    """Say how far it is, but seldom: talking takes time from the next call."""
    told = -1

    def hear(share: float) -> None:
        nonlocal told
        if (quarter := int(share * 4)) > told:
            told = quarter
            tell(f"{what}, {quarter * 25} %")

    return hear


def _call(opened: Opened, signature: str, batches: Sequence[Batch]) -> Call:
    run = opened.runtime.run

    def call(round_number: int) -> dict[str, Any]:
        return run(signature, batches[round_number % len(batches)])

    return call
