"""Was the machine doing something else while it was measured? What Linux tells, and warnings made of it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tfopt.words import counted

#: More cores than this in other hands, on average, and the times are told with a warning.
BUSY_CORES: Final = 0.2
#: More than this share of the time without the processor, by a limit or by the hypervisor, and they are too.
LOST_SHARE: Final = 0.02
#: A processor whose clock changes by more than this share has been throttled, or was asleep.
CLOCK_CHANGE: Final = 0.1

_STAT: Final = Path("/proc/stat")
_CGROUPS: Final = Path("/proc/self/cgroup")
_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_CPUS: Final = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Reading:
    """The counters at one moment, in seconds; None where the system does not tell.

    own:       CPU time of this process.
    machine:   CPU time that the machine has worked, time stolen by a hypervisor included.
    stolen:    of it, the time that a hypervisor gave to other guests.
    throttled: how long this process' control group was held back by its CPU limit.
    preempted: how often a thread of this process was taken off its core against its will.
    overheated: how often the processor slowed itself down.
    megahertz: the present clock rates.
    """

    wall: float
    own: float
    machine: float | None
    stolen: float | None
    throttled: float | None
    preempted: int
    overheated: int | None
    megahertz: tuple[float, ...]

    @classmethod
    def now(cls) -> Reading:
        machine, stolen = parse_stat(_STAT.read_text(), os.sysconf("SC_CLK_TCK")) if _STAT.exists() else (None, None)
        return cls(
            wall=time.perf_counter(),
            own=time.process_time(),
            machine=machine,
            stolen=stolen,
            throttled=_throttled_seconds(),
            preempted=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            overheated=_overheated(),
            megahertz=_megahertz(),
        )


@dataclass(frozen=True)
class Conditions:
    """What went on beside the measuring, for `seconds` of it.

    other_cores: how many cores something else kept busy on average, a hypervisor's other guests included.
    stolen:      how many of them those guests alone had.
    throttled:   seconds for which a CPU limit (cgroup) held the process back.
    preempted:   how often a thread was taken off its core (involuntary context switches).
    overheated:  how often the processor slowed itself down.
    megahertz:   lowest and highest clock rate seen before and after; None where the system does not tell.
    """

    seconds: float
    other_cores: float | None
    stolen: float | None
    throttled: float | None
    preempted: int
    overheated: int | None
    megahertz: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conditions:
        clock = data["megahertz"]
        return cls(**{**data, "megahertz": None if clock is None else (clock[0], clock[1])})


def between(before: Reading, after: Reading) -> Conditions:
    """What went on from one reading to the other."""
    seconds = max(after.wall - before.wall, 1e-9)
    worked = _delta(before.machine, after.machine)
    others = None if worked is None else max(0.0, worked - (after.own - before.own))
    stolen = _delta(before.stolen, after.stolen)
    clocks = (*before.megahertz, *after.megahertz)
    heat = _delta(before.overheated, after.overheated)
    return Conditions(
        seconds=seconds,
        other_cores=None if others is None else others / seconds,
        stolen=None if stolen is None else stolen / seconds,
        throttled=_delta(before.throttled, after.throttled),
        preempted=after.preempted - before.preempted,
        overheated=None if heat is None else int(heat),
        megahertz=(min(clocks), max(clocks)) if clocks else None,
    )


def together(parts: Iterable[Conditions]) -> Conditions:
    """The conditions of several stretches as one. Raises ValueError for none."""
    first, *others = parts
    whole = first
    for part in others:
        whole = _joined(whole, part)
    return whole


def complaints(conditions: Conditions, cores: int) -> list[str]:
    """What a reader has to beware of, each in a few words; none when the machine was quiet."""
    found = []
    if conditions.other_cores is not None and conditions.other_cores > BUSY_CORES:
        found.append(f"something else kept {conditions.other_cores:.1f} of {cores} cores busy")
    if conditions.stolen is not None and conditions.stolen > LOST_SHARE * cores:
        found.append(f"the hypervisor gave {conditions.stolen:.2f} cores to other guests (steal time)")
    if conditions.throttled is not None and conditions.throttled > LOST_SHARE * conditions.seconds:
        found.append(f"a CPU limit (cgroup) held the process back for {conditions.throttled:.1f} s")
    if conditions.overheated:
        found.append(f"the processor slowed itself down {counted(conditions.overheated, 'time')} (heat)")
    if conditions.megahertz is not None:
        low, high = conditions.megahertz
        if low < (1 - CLOCK_CHANGE) * high:
            found.append(f"the clock rate was between {low:.0f} and {high:.0f} MHz")
    return found


def parse_stat(text: str, ticks_per_second: int) -> tuple[float, float]:
    """CPU seconds that the machine has worked since it started, and those of them stolen (man 5 proc_stat)."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in text.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / ticks_per_second, steal / ticks_per_second


def parse_throttled(text: str) -> float | None:
    """Seconds throttled from a cpu.stat of cgroups v2 (`throttled_usec`) or v1 (`throttled_time`, nanoseconds)."""
    values = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    if "throttled_usec" in values:
        return int(values["throttled_usec"]) / 1e6
    return int(values["throttled_time"]) / 1e9 if "throttled_time" in values else None


def cgroup_files(text: str) -> list[Path]:
    """Where this process' cpu.stat may lie, from /proc/self/cgroup; a container sees its own group as the root."""
    found = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found += [_CGROUP_ROOT / path.lstrip("/") / "cpu.stat", _CGROUP_ROOT / "cpu.stat"]
        elif "cpu" in controllers.split(","):
            places = [_CGROUP_ROOT / controllers, _CGROUP_ROOT / "cpu"]
            found += [place / part / "cpu.stat" for part in (path.lstrip("/"), "") for place in places]
    return found


def _throttled_seconds() -> float | None:
    if not _CGROUPS.exists():
        return None
    for file in cgroup_files(_CGROUPS.read_text()):
        if file.is_file():
            return parse_throttled(file.read_text())
    return None


def _overheated() -> int | None:
    counts = [int(file.read_text()) for file in _CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return sum(counts) if counts else None


def _megahertz() -> tuple[float, ...]:
    return tuple(int(file.read_text()) / 1000 for file in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))


def _delta(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _joined(one: Conditions, other: Conditions) -> Conditions:
    seconds = one.seconds + other.seconds
    clocks = (*(one.megahertz or ()), *(other.megahertz or ()))
    heat = _sum(one.overheated, other.overheated)
    return Conditions(
        seconds=seconds,
        other_cores=_mean(one.other_cores, one.seconds, other.other_cores, other.seconds),
        stolen=_mean(one.stolen, one.seconds, other.stolen, other.seconds),
        throttled=_sum(one.throttled, other.throttled),
        preempted=one.preempted + other.preempted,
        overheated=None if heat is None else int(heat),
        megahertz=(min(clocks), max(clocks)) if clocks else None,
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _mean(one: float | None, weight: float, other: float | None, other_weight: float) -> float | None:
    if one is None or other is None:
        return None
    return (one * weight + other * other_weight) / (weight + other_weight)
