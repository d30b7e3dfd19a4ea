"""What `bench` gives back. All times are in seconds, all sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tfopt.measure.footprint import Footprint
from tfopt.measure.machine import Machine
from tfopt.measure.series import Percentiles, Speedup
from tfopt.store.size import Size

SCHEMA: Final = 1


@dataclass(frozen=True)
class Inputs:
    """What every artifact was given. `shapes` by input name, as run at the first batch size."""

    source: Literal["file", "function", "warmup", "synthetic"]
    description: str
    shapes: Mapping[str, tuple[int, ...]]

    def to_dict(self) -> dict[str, Any]:
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"source": self.source, "description": self.description, "shapes": shapes}


@dataclass(frozen=True)
class Timing:
    """One artifact at one batch size.

    round_medians: the median of its calls in each round; round i of all artifacts ran side by side.
    steady:        it had stopped getting faster when measuring began.
    speedup:       over the first artifact at this batch size; None for the first.
    """

    batch_size: int
    seconds: Percentiles
    round_medians: tuple[float, ...]
    steady: bool
    speedup: Speedup | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "seconds": asdict(self.seconds),
            "round_medians": list(self.round_medians),
            "steady": self.steady,
            "speedup": None if self.speedup is None else self.speedup.to_dict(),
        }


@dataclass(frozen=True)
class ArtifactReport:
    """One artifact.

    footprint:  load time and memory at the first batch size; None when they were not wanted.
    difference: the largest difference of its outputs to the first artifact's on the same inputs, over the largest of
                these, in absolute values (for outputs that are no numbers: the share that differs). None for the first
                artifact, and when the outputs cannot be compared, which a warning then says.
    """

    name: str
    path: Path
    kind: str
    size: Size
    footprint: Footprint | None
    difference: float | None
    timings: tuple[Timing, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": str(self.path),
            "kind": self.kind,
            "size": asdict(self.size),
            "footprint": None if self.footprint is None else asdict(self.footprint),
            "difference": self.difference,
            "timings": [timing.to_dict() for timing in self.timings],
        }


@dataclass(frozen=True)
class Report:
    """The result of one `bench`. The first artifact is what the others are compared to."""

    artifacts: tuple[ArtifactReport, ...]
    signature: str
    inputs: Inputs
    batch_sizes: tuple[int, ...]
    threads: int
    seconds: float
    machine: Machine
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; readers tolerate keys that they don't know."""
        return {
            "schema": SCHEMA,
            "artifacts": [artifact.to_dict() for artifact in self.artifacts],
            "signature": self.signature,
            "inputs": self.inputs.to_dict(),
            "batch_sizes": list(self.batch_sizes),
            "threads": self.threads,
            "seconds": self.seconds,
            "machine": self.machine.to_dict(),
            "warnings": list(self.warnings),
        }
