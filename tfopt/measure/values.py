"""What `bench` gives back, and its way to JSON and back. All times are in seconds, all sizes in bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tfopt.errors import NotFound, OutputError, UsageError
from tfopt.measure.conditions import Conditions
from tfopt.measure.footprint import Footprint
from tfopt.measure.machine import Machine
from tfopt.measure.profile import Profile
from tfopt.measure.series import Percentiles, Speedup
from tfopt.store.disk import json_ready
from tfopt.store.size import Size

SCHEMA: Final = 2

#: Seconds of each round, by process.
Processes = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Inputs:
    """What every artifact was given. `shapes` by input name, as run at the first batch size."""

    source: Literal["file", "function", "warmup", "synthetic"]
    description: str
    shapes: Mapping[str, tuple[int, ...]]

    def to_dict(self) -> dict[str, Any]:
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"source": self.source, "description": self.description, "shapes": shapes}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Inputs:
        return cls(data["source"], data["description"], {name: tuple(s) for name, s in data["shapes"].items()})


@dataclass(frozen=True)
class Setting:
    """One batch size on one number of threads, and how measuring all artifacts there went.

    yardstick: seconds of one unit of the fixed reference work in each round, by process; round i of the artifacts ran
               beside it.
    units:     of it in one call.
    precision: half the width of the widest interval, as a share.
    ended:     "precise" when that was as tight as wanted, "time" when the time was up before.
    """

    threads: int
    batch_size: int
    yardstick: Processes
    units: int
    precision: float
    ended: Literal["precise", "time"]
    conditions: Conditions

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self),
            "yardstick": [list(rounds) for rounds in self.yardstick],
            "conditions": self.conditions.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Setting:
        conditions = Conditions.from_dict(data["conditions"])
        return cls(**{**data, "yardstick": _processes(data["yardstick"]), "conditions": conditions})


@dataclass(frozen=True)
class Timing:
    """One artifact at one setting.

    rounds:  what stands for each round, by process; round i of all artifacts ran side by side.
    calm:    seconds of a call when the machine left it alone: what speedups are made of.
    steady:  it had stopped getting faster when measuring began, in every process.
    speedup: over the first artifact at this setting; None for the first.
    """

    threads: int
    batch_size: int
    seconds: Percentiles
    calm: float
    rounds: Processes
    steady: bool
    speedup: Speedup | None

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self),
            "seconds": asdict(self.seconds),
            "rounds": [list(rounds) for rounds in self.rounds],
            "speedup": None if self.speedup is None else self.speedup.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Timing:
        faster = data["speedup"]
        return cls(
            **{
                **data,
                "seconds": Percentiles(**data["seconds"]),
                "rounds": _processes(data["rounds"]),
                "speedup": None if faster is None else Speedup.from_dict(faster),
            }
        )


@dataclass(frozen=True)
class ArtifactReport:
    """One artifact.

    footprint:  load time and memory at the first batch size; None when they were not wanted.
    difference: the largest difference of its outputs to the first artifact's on the same inputs, over the largest of
                these, in absolute values (for outputs that are no numbers: the share that differs). None for the first
                artifact, and when the outputs cannot be compared, which a warning then says.
    timings:    one for each setting of the report.
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

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArtifactReport:
        return cls(
            name=data["name"],
            path=Path(data["path"]),
            kind=data["kind"],
            size=Size(**data["size"]),
            footprint=None if data["footprint"] is None else Footprint.from_dict(data["footprint"]),
            difference=data["difference"],
            timings=tuple(Timing.from_dict(timing) for timing in data["timings"]),
        )


@dataclass(frozen=True)
class Report:
    """The result of one `bench`. The first artifact is what the others are compared to.

    seconds, precision, processes, seed: as they were asked for.
    profile: where the time goes, op by op, when that was wanted.
    """

    artifacts: tuple[ArtifactReport, ...]
    settings: tuple[Setting, ...]
    signature: str
    inputs: Inputs
    seconds: float
    precision: float
    processes: int
    seed: int
    machine: Machine
    warnings: tuple[str, ...]
    profile: Profile | None = None

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(setting.batch_size for setting in self.settings))

    @property
    def threads(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(setting.threads for setting in self.settings))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; readers tolerate keys that they don't know."""
        return {
            "schema": SCHEMA,
            "artifacts": [artifact.to_dict() for artifact in self.artifacts],
            "settings": [setting.to_dict() for setting in self.settings],
            "signature": self.signature,
            "inputs": self.inputs.to_dict(),
            "seconds": self.seconds,
            "precision": self.precision,
            "processes": self.processes,
            "seed": self.seed,
            "machine": self.machine.to_dict(),
            "warnings": list(self.warnings),
            "profile": None if self.profile is None else self.profile.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """The report that `to_dict` wrote. Raises KeyError, TypeError and ValueError for anything else."""
        return cls(
            artifacts=tuple(ArtifactReport.from_dict(each) for each in data["artifacts"]),
            settings=tuple(Setting.from_dict(each) for each in data["settings"]),
            signature=data["signature"],
            inputs=Inputs.from_dict(data["inputs"]),
            seconds=data["seconds"],
            precision=data["precision"],
            processes=data["processes"],
            seed=data["seed"],
            machine=Machine.from_dict(data["machine"]),
            warnings=tuple(data["warnings"]),
            profile=Profile.from_dict(data["profile"]) if data.get("profile") else None,
        )


def write_json(document: Mapping[str, Any], path: str | Path) -> None:
    """Write the file that a report or comparison is; `load_report` reads a report back. Raises OutputError."""
    try:
        text = json.dumps(json_ready(document), indent=1, ensure_ascii=False, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=str(path)) from error


def load_report(path: str | Path) -> Report:
    """Raises NotFound, and UsageError for what is no report, or one of servers or of another tfopt."""
    hint = "`tfopt bench MODEL --out report.json` writes one"
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound("no such file", where=str(path), hint=hint) from error
    except (OSError, ValueError) as error:
        raise UsageError("cannot be read as a bench report", where=str(path), hint=hint) from error
    if isinstance(data, dict) and data.get("kind") == "server":
        what = "a report of servers, whose runs nothing tells apart from a change of the machine: it cannot be compared"
        both = "`tfopt bench --server URL --server URL` loads two in turns and compares them"
        raise UsageError(what, where=str(path), hint=both)
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        found = "no bench report" if schema is None else f"a bench report of schema {schema}, not {SCHEMA}"
        raise UsageError(found, where=str(path), hint=hint)
    try:
        return Report.from_dict(data)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"a damaged bench report: {error!r}", where=str(path), hint=hint) from error


def _processes(data: list[list[float]]) -> Processes:
    return tuple(tuple(rounds) for rounds in data)
