"""How the artifacts of a version stand on this machine: what each requires, and whether it runs here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfopt.errors import TfoptError
from tfopt.requirements import surely_unmet
from tfopt.store import Manifest
from tfopt.store.size import model_files

_FILES: Final = {"tflite": "model.tflite", "onnx": "model.onnx"}
_SAVED_MODELS: Final = ("saved_model.pb", "saved_model.pbtxt")


@dataclass(frozen=True, slots=True)
class Standing:
    """One artifact. `why_not` says why this machine cannot run it, None when it can; `passed` whether the manifest
    holds what the gate has measured of it."""

    kind: str
    path: Path
    bytes: int
    requires: tuple[str, ...]
    why_not: str | None
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "path": str(self.path),
            "bytes": self.bytes,
            "requires": list(self.requires),
            "runs_here": self.why_not is None,
            "why_not": self.why_not,
            "passed_gate": self.passed,
        }


def standings(version: Path, manifest: Manifest, requires: Mapping[str, tuple[str, ...]]) -> tuple[Standing, ...]:
    """Every artifact in a version directory. `requires` is what is known of kinds that the manifest does not list.

    What requires something of the machine, and what another runtime than TensorFlow runs, is loaded to find out.
    """
    found = {kind: version / name for kind, name in _FILES.items() if (version / name).is_file()}
    if any((version / name).is_file() for name in _SAVED_MODELS):
        found = {"saved_model": version, **found}
    return tuple(
        _standing(kind, path, manifest, manifest.requires(kind) or requires.get(kind, ()))
        for kind, path in found.items()
    )


def _standing(kind: str, path: Path, manifest: Manifest, requires: tuple[str, ...]) -> Standing:
    runs_anywhere = kind == "saved_model" and not requires
    why_not = None if runs_anywhere else surely_unmet(requires) or _refusal(path)
    size = sum(file.stat().st_size for file in model_files(path))
    return Standing(kind, path, size, requires, why_not, manifest.has_passed(kind))


def _refusal(path: Path) -> str | None:
    from tfopt.runtimes.load import open_artifact

    try:
        open_artifact(path).close()
    except TfoptError as error:
        return error.what
    return None
