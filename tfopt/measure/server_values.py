"""What loading servers gives back. All times are in seconds, all rates in requests per second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from tfopt.measure.conditions import Conditions
from tfopt.measure.machine import Machine
from tfopt.measure.series import Percentiles, Speedup
from tfopt.measure.values import Inputs

SCHEMA: Final = 1
#: A server keeps up with a rate when it answers this share of it in time.
KEPT_UP: Final = 0.95


@dataclass(frozen=True)
class Point:
    """One server at one rate.

    rate:     as it was wanted; offered: as the drawn arrivals had it; achieved: answers with OK per second, until the
              last of them was there.
    latency:  of the answers with OK, from the intended arrival; None when there was none.
    errors:   how many requests ended with which HTTP status or canonical code.
    medians:  the median latency of each stretch; stretch i of all servers had the same arrivals.
    late:     the 99th percentile of the generator's own lateness; cores: what it used of the processor.
    waited:   how many requests found no free connection.
    speedup:  of the median latency over the first server's at this rate; None for the first.
    """

    rate: float
    offered: float
    achieved: float
    requests: int
    latency: Percentiles | None
    errors: Mapping[str, int]
    medians: tuple[float, ...]
    late: float
    cores: float
    waited: int
    speedup: Speedup | None

    @property
    def kept_up(self) -> bool:
        return not self.errors and self.achieved >= KEPT_UP * self.offered

    def to_dict(self) -> dict[str, Any]:
        speedup = None if self.speedup is None else self.speedup.to_dict()
        return {**asdict(self), "medians": list(self.medians), "speedup": speedup, "kept_up": self.kept_up}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Point:
        known = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        latency, faster = data["latency"], data["speedup"]
        return cls(
            **{
                **known,
                "latency": None if latency is None else Percentiles(**latency),
                "medians": tuple(data["medians"]),
                "speedup": None if faster is None else Speedup.from_dict(faster),
            }
        )


@dataclass(frozen=True)
class Served:
    """One server. `capacity` is what it answered per second when it was asked without a pause."""

    url: str
    capacity: float
    points: tuple[Point, ...]

    @property
    def knee(self) -> float | None:
        """The highest rate that it kept up with, all lower ones too; None when there is none."""
        reached = None
        for point in sorted(self.points, key=lambda each: each.rate):
            if not point.kept_up:
                break
            reached = point.rate
        return reached


@dataclass(frozen=True)
class ServerReport:
    """The result of loading servers. The first is what the others are compared to."""

    servers: tuple[Served, ...]
    rates: tuple[float, ...]
    signature: str
    inputs: Inputs
    batch_size: int
    seconds: float
    connections: int
    seed: int
    machine: Machine
    conditions: Conditions
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; readers tolerate keys that they don't know."""
        return {
            **vars(self),
            "schema": SCHEMA,
            "kind": "server",
            "servers": [
                {**vars(each), "knee": each.knee, "points": [point.to_dict() for point in each.points]}
                for each in self.servers
            ],
            "rates": list(self.rates),
            "inputs": self.inputs.to_dict(),
            "machine": self.machine.to_dict(),
            "conditions": self.conditions.to_dict(),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ServerReport:
        """The report that `to_dict` wrote. Raises KeyError, TypeError and ValueError for anything else."""
        known = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        return cls(
            **{
                **known,
                "servers": tuple(
                    Served(each["url"], each["capacity"], tuple(Point.from_dict(point) for point in each["points"]))
                    for each in data["servers"]
                ),
                "rates": tuple(data["rates"]),
                "inputs": Inputs.from_dict(data["inputs"]),
                "machine": Machine.from_dict(data["machine"]),
                "conditions": Conditions.from_dict(data["conditions"]),
                "warnings": tuple(data["warnings"]),
            }
        )
