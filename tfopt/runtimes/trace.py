"""Where the time of a call goes, op by op: what every runtime's tracer gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from tfopt.runtimes.base import Runtime

#: One in so many calls counts.
QUARTER = 4
#: Calls of one kind before those of the other.
_TURN = 8

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class OpTime:
    """One op. `name` and `op` are the runtime's; `covers` are names of the model's nodes that it stands for, where the
    runtime or a converter has fused several.

    `seconds` of all `times` that it ran in one call. `macs` are multiply-accumulates and `bytes` what is read and
    written, weights included, once for each of them; None where shapes are not known. `integer` ones work on int8.

    `estimated` are seconds of which tracing was the larger part, before what it cost was taken off.
    """

    name: str
    op: str
    seconds: float
    covers: tuple[str, ...] = ()
    macs: int | None = None
    bytes: int | None = None
    integer: bool = False
    times: int = 1
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """The ops in the order in which they run, as they were in the quicker calls. `seconds` is what the runtime's own
    call takes that is not traced, in turns with the traced ones; `cost` what tracing one op takes, where that was taken
    off the ops. Nothing makes the ops add up to `seconds`: a time that belongs to no op is missing in their sum."""

    ops: Sequence[OpTime]
    seconds: float
    cost: float = 0.0


class Tracer(Protocol):
    """An artifact that can be asked where its time goes. `runtime` runs the same thing untraced."""

    @property
    def runtime(self) -> Runtime: ...

    def trace(self, signature: str, inputs: Mapping[str, NDArray[Any]], repeats: int) -> Trace:
        """Of `repeats` calls, or fewer where these would be too much to hold."""


def in_turns(untraced: Callable[[], object], traced: Callable[[], _T], repeats: int) -> tuple[list[float], list[_T]]:
    """Seconds of `repeats` calls of the one, and what as many of the other give. They take turns of a few, so that
    what else the machine does slows both, and what one leaves in the caches slows only the first few of the other."""
    seconds: list[float] = []
    given: list[_T] = []
    while len(given) < repeats:
        count = min(_TURN, repeats - len(given))
        seconds += [seconds_of(untraced) for _ in range(count)]
        given += [traced() for _ in range(count)]
    return seconds, given


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def calm(seconds: Sequence[float]) -> float:
    """The mean of the quickest quarter: whatever else the machine did can only have made one slower."""
    return fmean(_quickest(seconds, float))


def calm_ops(calls: Iterable[Iterable[OpTime]]) -> list[OpTime]:
    """The ops by name, each with its mean over the quickest quarter of the calls, so that they add up to what `calm`
    gives for these. Where one runs many times a call, in a loop's body, it is each op's own quickest quarter: tracing
    thousands of ops takes more of the caches than running them does, and hardly a call has all of them undisturbed."""
    totals = [added_up(call) for call in calls]
    names = dict.fromkeys(name for call in totals for name in call)
    if any(op.times > 1 for call in totals for op in call.values()):
        found = ([call[name] for call in totals if name in call] for name in names)
        return [_mean(_quickest(ops, _seconds)) for ops in found]
    kept = _quickest(totals, lambda call: sum(map(_seconds, call.values())))
    return [_mean(ops) for name in names if (ops := [call[name] for call in kept if name in call])]


def _quickest(items: Sequence[_T], seconds: Callable[[_T], float]) -> Sequence[_T]:
    return sorted(items, key=seconds)[: max(1, len(items) // QUARTER)]


def _seconds(op: OpTime) -> float:
    return op.seconds


def _mean(ops: Sequence[OpTime]) -> OpTime:
    return replace(ops[0], seconds=fmean(map(_seconds, ops)))


def added_up(call: Iterable[OpTime]) -> dict[str, OpTime]:
    """By name: seconds, times, multiply-accumulates and bytes are summed."""
    found: dict[str, OpTime] = {}
    for op in call:
        known = found.get(op.name)
        if known is not None:
            op = replace(
                op,
                seconds=known.seconds + op.seconds,
                times=known.times + op.times,
                macs=None if known.macs is None or op.macs is None else known.macs + op.macs,
                bytes=None if known.bytes is None or op.bytes is None else known.bytes + op.bytes,
            )
        found[op.name] = op
    return found
