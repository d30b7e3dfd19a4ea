"""Two bench reports, of before and after: what has changed, and what is only the machine. Needs no model and no engine.

Times of two hours cannot be compared, for the machine has changed in between. So each run's times are divided by the
times of the yardstick that ran beside them, process by process. The interval knows how much the processes of each run
differed, and how far the machine had drifted: a yardstick slows down with the machine as a model does, but not to the
same degree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfopt.errors import UsageError
from tfopt.measure.series import Speedup, as_speedup, log_ratio, log_seconds
from tfopt.measure.values import ArtifactReport, Report, Setting, Timing, load_report

#: Of the machine's drift that the yardstick saw, the share by which a model may have drifted more or less.
DRIFT_DOUBT: Final = 0.5
#: A machine that drifted by more than this is told of.
DRIFT_TOLD: Final = 0.1


@dataclass(frozen=True)
class Change:
    """One artifact at one setting, before and after.

    before, after: seconds of a call when the machine left it alone, as they were measured.
    drift:         how many times longer the yardstick took after than before.
    speedup:       of after over before with the drift divided out.
    """

    name: str
    threads: int
    batch_size: int
    before: float
    after: float
    drift: float
    speedup: Speedup

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "speedup": self.speedup.to_dict()}


@dataclass(frozen=True)
class Comparison:
    """What `tfopt bench --compare` says."""

    changes: tuple[Change, ...]
    before: Report
    after: Report
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        machines = {"before": self.before.machine.to_dict(), "after": self.after.machine.to_dict()}
        changes = [change.to_dict() for change in self.changes]
        return {"schema": 1, "changes": changes, "machines": machines, "warnings": list(self.warnings)}


def compare_reports(before: Report | str | Path, after: Report | str | Path) -> Comparison:
    """What has changed from one report (or its file) to another, for each artifact at each setting that both have.

    Raises NotFound and UsageError for files that are no reports, UsageError when they have nothing in common.
    """
    first, second = (each if isinstance(each, Report) else load_report(each) for each in (before, after))
    _check_same_work(first, second)
    changes = tuple(_changes(first, second))
    if not changes:
        raise UsageError(
            "the two reports have no artifact and setting in common",
            hint="give reports of one artifact each, or of equal names, at equal threads and batch sizes",
        )
    return Comparison(changes, first, second, tuple(_warnings(first, second, changes)))


def _changes(before: Report, after: Report) -> Iterator[Change]:
    for ours, theirs in _artifacts(before, after):
        for setting, timing in zip(before.settings, ours.timings, strict=True):
            for later, other in zip(after.settings, theirs.timings, strict=True):
                if (setting.threads, setting.batch_size) == (later.threads, later.batch_size):
                    yield _change(theirs.name, setting, timing, later, other)


def _artifacts(before: Report, after: Report) -> Iterator[tuple[ArtifactReport, ArtifactReport]]:
    """Those of equal names; a single one on each side is the same whatever its name."""
    if len(before.artifacts) == len(after.artifacts) == 1:
        yield before.artifacts[0], after.artifacts[0]
        return
    later = {artifact.name: artifact for artifact in after.artifacts}
    yield from ((artifact, later[artifact.name]) for artifact in before.artifacts if artifact.name in later)


def _change(name: str, setting: Setting, timing: Timing, later: Setting, other: Timing) -> Change:
    # The yardstick's time over the model's: the larger, the faster.
    change = log_ratio(later.yardstick, other.rounds).minus(log_ratio(setting.yardstick, timing.rounds))
    drift = log_seconds(later.yardstick).mean - log_seconds(setting.yardstick).mean
    rounds = sum(map(len, timing.rounds)) + sum(map(len, other.rounds))
    processes = len(timing.rounds) + len(other.rounds)
    return Change(
        name=name,
        threads=setting.threads,
        batch_size=setting.batch_size,
        before=timing.calm,
        after=other.calm,
        drift=math.exp(drift),
        speedup=as_speedup(change, rounds, processes, slack=DRIFT_DOUBT * abs(drift)),
    )


def _check_same_work(before: Report, after: Report) -> None:
    if before.signature != after.signature:
        raise UsageError(f"one report is of signature {before.signature}, the other of {after.signature}")
    if before.inputs.shapes != after.inputs.shapes:
        shown = [", ".join(f"{n} {list(s)}" for n, s in each.inputs.shapes.items()) for each in (before, after)]
        raise UsageError(f"one report is of inputs {shown[0]}, the other of {shown[1]}")


def _warnings(before: Report, after: Report, changes: tuple[Change, ...]) -> Iterator[str]:
    ours, theirs = before.machine, after.machine
    if (ours.cpu, ours.cores, ours.flags) != (theirs.cpu, theirs.cores, theirs.flags):
        yield f"the reports are of two machines ({ours.cpu} and {theirs.cpu}): the yardstick cannot stand for both"
    for name in sorted(ours.libraries.keys() | theirs.libraries.keys()):
        versions = ours.libraries.get(name, "none"), theirs.libraries.get(name, "none")
        if versions[0] != versions[1]:
            yardstick = ", which the yardstick is made of" if name == "numpy" else ""
            yield f"{name} {versions[0]} before, {versions[1]} after{yardstick}"
    if ours.settings != theirs.settings:
        yield f"environment before: {dict(ours.settings)}, after: {dict(theirs.settings)}"
    for drift in sorted({change.drift for change in changes if abs(math.log(change.drift)) > DRIFT_TOLD}):
        slower = "slower" if drift > 1 else "faster"
        yield f"the machine itself was {max(drift, 1 / drift):.2f}x {slower} after: the interval is wider for it"
    yield from (f"before: {warning}" for warning in before.warnings)
    yield from (f"after: {warning}" for warning in after.warnings)
