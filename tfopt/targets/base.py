"""What a target makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact on disk: a SavedModel's directory or a .tflite file.

    `requires` names what the serving machine must have beyond the runtime itself.
    """

    kind: Literal["saved_model", "tflite"]
    path: Path
    requires: tuple[str, ...] = ()
