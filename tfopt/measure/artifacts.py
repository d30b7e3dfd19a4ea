"""Which artifacts a path stands for, and what to call them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tfopt.errors import InvalidModel
from tfopt.formats.model_path import check_there, version_hint

Kind = Literal["saved_model", "tflite", "onnx"]
TFLITE_NAME: Final = "model.tflite"
ONNX_NAME: Final = "model.onnx"
_FILES: Final[dict[str, Kind]] = {".tflite": "tflite", ".onnx": "onnx"}
_SAVED_MODEL_NAMES: Final = ("saved_model.pb", "saved_model.pbtxt")
_EXPECTED: Final = "give a SavedModel directory, a .tflite or a .onnx file"

_HOLDS_NONE: Final = f"it holds neither saved_model.pb nor {TFLITE_NAME} nor {ONNX_NAME}"


@dataclass(frozen=True)
class Found:
    """`path` is what a runtime opens: a SavedModel directory, a .tflite or a .onnx file."""

    path: Path
    kind: Kind


def find_artifacts(path: Path) -> list[Found]:
    """A .tflite or .onnx file or a SavedModel directory is one artifact, a version directory is each of those it holds.

    Raises NotFound when nothing is there, InvalidModel when it is no model or cannot be read.
    """
    try:
        return _find(path)
    except OSError as error:
        raise InvalidModel(f"cannot be read ({error.strerror})", where=str(path)) from error


def _find(path: Path) -> list[Found]:
    check_there(path, _EXPECTED)
    if path.is_file():
        if path.suffix not in _FILES:
            raise InvalidModel("not a model", where=str(path), hint=_EXPECTED)
        return [Found(path, _FILES[path.suffix])]
    found: list[Found] = []
    if any((path / name).is_file() for name in _SAVED_MODEL_NAMES):
        found.append(Found(path, "saved_model"))
    for name in (TFLITE_NAME, ONNX_NAME):
        if (path / name).is_file():
            found.append(Found(path / name, _FILES[Path(name).suffix]))
    if not found:
        raise InvalidModel("no model in this directory", where=str(path), hint=version_hint(path) or _HOLDS_NONE)
    return found


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart; a path given again gets a number behind it."""
    absolute = [path.absolute() for path in paths]
    distinct = set(absolute)
    names: list[str] = []
    for index, path in enumerate(absolute):
        others = distinct - {path}
        length = next(n for n in range(1, len(path.parts) + 1) if not _shared(path, others, n))
        again = absolute[:index].count(path)
        names.append(str(Path(*path.parts[-length:])) + (f" ({again + 1})" if again else ""))
    return names


def _shared(path: Path, others: set[Path], length: int) -> bool:
    whole = length == len(path.parts)
    return not whole and any(other.parts[-length:] == path.parts[-length:] for other in others)
