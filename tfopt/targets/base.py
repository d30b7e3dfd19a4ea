"""What a target makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Artifact:
    """One artifact on disk: a SavedModel's directory, a .tflite file, or a .onnx file with those beside it.

    `requires` names what the serving machine must have beyond the runtime itself; `notes` say what somebody who asked
    for this artifact would not expect, such as layers that stayed float.
    """

    kind: Literal["saved_model", "tflite", "onnx"]
    path: Path
    requires: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
