"""`bench`: how fast, how large and how hungry are artifacts, beside each other?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from tfopt.data import check_sources
from tfopt.errors import UsageError
from tfopt.measure.artifacts import Found, find_artifacts, short_names
from tfopt.measure.conditions import complaints, together
from tfopt.measure.difference import largest_difference
from tfopt.measure.footprint import Footprint, measure_cold, measure_footprint
from tfopt.measure.inputs import Batch, Opened, Plan, plan_inputs
from tfopt.measure.machine import available_cores, describe_machine
from tfopt.measure.profile import profile as trace_artifacts
from tfopt.measure.series import calm_seconds, percentiles, round_seconds, speedup
from tfopt.measure.timing import MIN_ROUNDS
from tfopt.measure.values import ArtifactReport, Inputs, Report, Setting, Timing
from tfopt.measure.worker import Job, Measured, measure_here, measure_in_process, opened_artifacts
from tfopt.store.size import measure_size
from tfopt.words import Tell, counted

#: How many processes a setting is measured in, this one included, unless it is precise before.
PROCESSES: Final = 7
#: From so many on the spread between them is known well enough to stop.
LEAST_PROCESSES: Final = 3
#: Half the width of the interval that is tight enough, as a share.
PRECISION: Final = 0.02
#: Fresh processes for each artifact's load time and memory.
FOOTPRINT_PROCESSES: Final = 2


def bench(
    paths: Sequence[str | Path],
    *,
    data: str | Path | None = None,
    signature: str | None = None,
    batch_sizes: Sequence[int] = (1,),
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    seconds: float = 5.0,
    precision: float = PRECISION,
    processes: int = PROCESSES,
    threads: int | Sequence[int] | None = None,
    footprint: bool = True,
    profile: bool = False,
    seed: int = 0,
    tell: Tell = lambda text: None,
) -> Report:
    """Measure artifacts against the first of them, in turns, in several processes after each other.

    paths:       SavedModel directories, version directories (each artifact in it is one) and .tflite files.
    data:        samples, from any source that `compress` takes; else the model's warmup records, else synthetic ones.
    signature:   default serving_default, or the only one.
    batch_sizes: each is measured by itself, at each number of threads.
    shapes:      whole shapes for inputs with unknown dimensions beside the batch; axis 0 is the batch (None or 1).
    seconds:     of measuring at most, per artifact, batch size and number of threads, over all processes; warming up
                 and loading come on top.
    precision:   enough when half the width of every interval is below this share.
    processes:   the first is this one, the others are fresh; 1 keeps everything here, and trusts less.
    threads:     one or several numbers, for every artifact alike; default all cores this process may use.
    footprint:   also measure load time (warm and cold) and memory, each artifact in a fresh process.
    profile:     also trace where the time goes, op by op, at the first batch size and number of threads.
    seed:        of the order in which artifacts are loaded and take turns.

    Raises UsageError, NotFound, InvalidModel, InvalidSamples and what the runtimes raise.
    """
    counts = _thread_counts(threads)
    _check(paths, batch_sizes, seconds, precision, processes)
    found = [artifact for path in paths for artifact in find_artifacts(Path(path))]
    check_sources(() if data is None else [data])  # before any engine is imported, which takes seconds
    names = short_names([artifact.path for artifact in found])
    machine = describe_machine()
    footprints: list[Footprint | None] = [None] * len(found)
    runs: list[_Run] = []
    for count in counts:
        where = f"{counted(count, 'thread')}: " if len(counts) > 1 else ""
        run = _Run(found, names, count, seconds, precision, processes, seed, _prefixed(tell, where))
        with opened_artifacts([each.path for each in found], names, threads=count, seed=seed, tell=run.tell) as opened:
            if not runs:
                plan = plan_inputs(
                    opened,
                    signature=signature,
                    data=None if data is None else Path(data),
                    shapes=shapes or {},
                    batch_sizes=batch_sizes,
                )
                smallest = plan.batches[batch_sizes[0]]
                differences, unequal = _differences(opened, plan.signature, smallest)
            run.measure_first(opened, plan)
        if footprint and not runs:
            footprints = _footprints(found, names, plan.signature, smallest[0], count, tell)
        run.measure_others(plan)
        runs.append(run)
    traced = (
        trace_artifacts(
            found,
            names,
            signature=plan.signature,
            inputs=smallest[0],
            batch_size=batch_sizes[0],
            threads=counts[0],
            tell=tell,
        )
        if profile
        else None
    )
    timings = [[timing for run in runs for timing in run.timings(index)] for index in range(len(found))]
    return Report(
        artifacts=tuple(
            ArtifactReport(name, each.path, each.kind, measure_size(each.path), foot, difference, tuple(timed))
            for each, name, foot, difference, timed in zip(found, names, footprints, differences, timings, strict=True)
        ),
        settings=tuple(setting for run in runs for setting in run.settings()),
        signature=plan.signature,
        inputs=Inputs(
            plan.samples.source,
            plan.samples.description,
            {name: array.shape for name, array in smallest[0].items()},
        ),
        seconds=seconds,
        precision=precision,
        processes=processes,
        seed=seed,
        machine=machine,
        warnings=(*plan.notes, *unequal, *(warning for run in runs for warning in run.warnings())),
        profile=traced,
    )


class _Run:
    """All batch sizes on one number of threads, measured process by process until each is precise."""

    def __init__(
        self,
        found: Sequence[Found],
        names: Sequence[str],
        threads: int,
        seconds: float,
        precision: float,
        processes: int,
        seed: int,
        tell: Tell,
    ) -> None:
        self._found, self._names, self._threads = found, names, threads
        self._share, self._precision, self._processes = seconds / processes, precision, processes
        self._seed = seed
        self.tell = tell
        self._measured: dict[int, list[Measured]] = {}

    def measure_first(self, opened: Sequence[Opened], plan: Plan) -> None:
        """In this process, where the artifacts are loaded anyway."""
        self._add(measure_here(opened, self._job(plan, list(plan.batches), 0), self.tell))

    def measure_others(self, plan: Plan) -> None:
        """In fresh processes, of those batch sizes that are not precise yet."""
        paths = [each.path for each in self._found]
        for number in range(1, self._processes):
            if not (sizes := [size for size in plan.batches if not self._is_precise(size)]):
                return
            self.tell(f"measuring in a fresh process, {number + 1} of at most {self._processes}")
            self._add(measure_in_process(paths, self._names, self._job(plan, sizes, number)))

    def settings(self) -> list[Setting]:
        return [
            Setting(
                threads=self._threads,
                batch_size=size,
                yardstick=tuple(round_seconds(each.yardstick) for each in measured),
                units=measured[0].units,
                precision=self._reached(size),
                ended="precise" if self._is_precise(size) else "time",
                conditions=together(each.conditions for each in measured),
            )
            for size, measured in self._measured.items()
        ]

    def timings(self, index: int) -> list[Timing]:
        """Of one artifact, at each batch size."""
        return [self._timing(index, size) for size in self._measured]

    def warnings(self) -> list[str]:
        found: list[str] = []
        for setting in self.settings():
            where = f"{counted(setting.threads, 'thread')}, batch {setting.batch_size}"
            found += [
                f"{where}: {name} was still getting faster when its warm-up ended; give it more --seconds"
                for name, timing in zip(self._names, self._at(setting.batch_size), strict=True)
                if not timing.steady
            ]
            found += [
                f"{where}: {text}; the intervals allow for it, the times do not"
                for text in complaints(setting.conditions, available_cores())
            ]
        return found

    def _job(self, plan: Plan, sizes: Sequence[int], number: int) -> Job:
        return Job(
            signature=plan.signature,
            threads=self._threads,
            batches={size: plan.batches[size] for size in sizes},
            seconds=self._share,
            least=max(1, math.ceil(MIN_ROUNDS / self._processes)),
            units={size: measured[0].units for size, measured in self._measured.items()},
            seed=self._seed * 1000 + number,
        )

    def _add(self, measured: Mapping[int, Measured]) -> None:
        for size, each in measured.items():
            self._measured.setdefault(size, []).append(each)

    def _is_precise(self, size: int) -> bool:
        enough = len(self._measured[size]) >= min(LEAST_PROCESSES, self._processes)
        return enough and self._reached(size) <= self._precision

    def _reached(self, size: int) -> float:
        """Half the width of the widest interval: of the artifacts' speedups, or of one artifact over the yardstick."""
        _, *others = [timing.speedup for timing in self._at(size)]
        widths = [each.precision for each in others if each is not None]
        if not widths:
            measured = self._measured[size]
            yardstick = [round_seconds(each.yardstick) for each in measured]
            widths = [speedup(yardstick, [round_seconds(each.turns[0]) for each in measured]).precision]
        return max(widths)

    def _at(self, size: int) -> list[Timing]:
        return [self._timing(index, size) for index in range(len(self._names))]

    def _timing(self, index: int, size: int) -> Timing:
        measured = self._measured[size]
        first, rounds = (tuple(round_seconds(each.turns[which]) for each in measured) for which in (0, index))
        return Timing(
            threads=self._threads,
            batch_size=size,
            seconds=percentiles([each.turns[index].ravel() for each in measured]),
            calm=float(np.median([calm_seconds(each) for each in rounds])),
            rounds=rounds,
            steady=all(each.steady[index] for each in measured),
            speedup=speedup(first, rounds) if index else None,
        )


def _check(
    paths: Sequence[str | Path], batch_sizes: Sequence[int], seconds: float, precision: float, processes: int
) -> None:
    if isinstance(paths, (str, Path)) or not paths:
        raise UsageError("bench takes a list of at least one path")
    if not batch_sizes or any(size < 1 for size in batch_sizes):
        raise UsageError(f"batch size {min(batch_sizes, default=None)}", hint="a batch holds at least one example")
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"{seconds:g} seconds of measuring", hint="give a positive number")
    if not 0 < precision < 1:
        raise UsageError(f"a precision of {precision:g}", hint="give a share between 0 and 1, such as 0.01 for 1 %")
    if processes < 1:
        raise UsageError(f"{processes} processes", hint="give at least 1")


def _thread_counts(threads: int | Sequence[int] | None) -> list[int]:
    """Each number once. Raises UsageError."""
    if threads is None:
        return [available_cores()]
    counts = list(dict.fromkeys([threads] if isinstance(threads, int) else threads))
    if not counts or min(counts) < 1:
        raise UsageError(f"{min(counts, default='no')} threads", hint="give at least 1, or none for all cores")
    return counts


def _prefixed(tell: Tell, where: str) -> Tell:
    return lambda text: tell(where + text)


def _differences(
    opened: Sequence[Opened], signature: str, batches: Sequence[Batch]
) -> tuple[list[float | None], list[str]]:
    """Of each artifact to the first, and a warning for each that cannot be compared."""
    first, *others = ([each.answer(signature, batch) for batch in batches] for each in opened)
    differences = [None, *(largest_difference(first, outputs) for outputs in others)]
    warnings = [
        f"the outputs of {each.name} are not comparable to {opened[0].name}'s: other names, other shapes or not finite"
        for each, difference in zip(opened[1:], differences[1:], strict=True)
        if difference is None
    ]
    return differences, warnings


def _footprints(
    found: Sequence[Found], names: Sequence[str], signature: str, inputs: Batch, threads: int, tell: Tell
) -> list[Footprint | None]:
    """Of each artifact, from the quickest of its processes: whatever else ran can only have made it slower."""
    measured: list[list[Footprint]] = [[] for _ in found]
    cold = []
    for each, name in zip(found, names, strict=True):
        tell(f"loading {name} in a fresh process, its files not in the page cache")
        cold.append(measure_cold(each.path, each.kind, signature, inputs, threads=threads))
    for _ in range(FOOTPRINT_PROCESSES):
        for each, name, mine in zip(found, names, measured, strict=True):
            tell(f"loading {name} in a fresh process")
            mine.append(measure_footprint(each.path, each.kind, signature, inputs, threads=threads))
    return [
        replace(min(mine, key=lambda footprint: footprint.answer_seconds), cold=theirs)
        for mine, theirs in zip(measured, cold, strict=True)
    ]
