"""What may be published, and where to."""

from __future__ import annotations

from pathlib import Path

from tfopt.errors import InvalidModel, UsageError
from tfopt.formats.model_path import check_there
from tfopt.store import digest_files, is_version_directory, version_number
from tfopt.store.digest import digest_file
from tfopt.store.disk import copy_file, copy_tree, make_directories
from tfopt.store.size import model_files

SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
TFLITE = "model.tflite"
ONNX = "model.onnx"
#: What a model that is one file is called in a version.
_FILES = {".tflite": TFLITE, ".onnx": ONNX}


def check_model(model: Path) -> None:
    """A SavedModel directory, a version directory, a .tflite or a .onnx file. Raises NotFound, InvalidModel."""
    expected = "give a SavedModel directory, what `tfopt compress` wrote, a .tflite or a .onnx file"
    check_there(model, expected)
    if model.is_file() and model.suffix in _FILES:
        return
    if not model.is_dir() or not is_version_directory(model):
        raise InvalidModel("is no model", where=str(model), hint=_versions_hint(model) or expected)


def _versions_hint(path: Path) -> str | None:
    numbers = _versions_in(path)
    return f"it holds versions, give one: {path / str(max(numbers))}" if numbers else None


def _versions_in(path: Path) -> list[int]:
    names = [entry.name for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []
    return [number for number in map(version_number, names) if number is not None]


def check_base(base: Path, model: Path, *, named: bool) -> None:
    """Is `base` fit to be a model's base path? `named`: its last part was given as the model's name.

    Raises UsageError for what TF Serving would read in another way than was meant.
    """
    if not named and version_number(base.resolve().name) is not None:
        hint = f"give {base.parent}, the number is found by itself"
        raise UsageError("a base path ends in the model's name, not in a version", where=str(base), hint=hint)
    if model.is_dir() and base.resolve().is_relative_to(model.resolve()):
        raise UsageError("the base path lies in the model to be published", where=str(base))
    if is_version_directory(base):
        raise UsageError("is a model, not a base path", where=str(base), hint="give BASE/NAME, where versions go")
    models = [entry.name for entry in sorted(base.iterdir()) if _versions_in(entry)] if base.is_dir() else []
    if models and not _versions_in(base):
        hint = f"give {base / 'NAME'}, for example {base / models[0]}"
        raise UsageError(f"holds models ({', '.join(models[:3])}), not versions of one", where=str(base), hint=hint)


def copy_model(model: Path, staged: Path) -> None:
    """Copy what `check_model` accepted into the empty directory `staged`, with the files beside a .onnx file that
    belong to it, under their own names. Raises InvalidModel, OutputError."""
    if not model.is_file():
        copy_tree(model, staged)
        return
    first, *beside = model_files(model)
    copy_file(first, staged / _FILES[model.suffix])
    for file in beside:
        target = staged / file.relative_to(model.parent)
        make_directories(target.parent)
        copy_file(file, target)


def artifacts_in(version: Path) -> dict[str, Path]:
    """Kind and path of what can be served; the SavedModel comes first."""
    found = {"saved_model": version} if any((version / name).is_file() for name in SAVED_MODEL) else {}
    if (version / TFLITE).is_file():
        found["tflite"] = version / TFLITE
    if (version / ONNX).is_file():
        found["onnx"] = version / ONNX
    return found


def artifact_files(version: Path, kind: str) -> dict[str, str]:
    """SHA-256 by relative path of the files that make up one artifact."""
    if kind == "onnx":
        return {path.relative_to(version).as_posix(): digest_file(path) for path in model_files(version / ONNX)}
    parts = (TFLITE,) if kind == "tflite" else (*SAVED_MODEL, "variables", "assets")
    return {name: digest for name, digest in digest_files(version).items() if name.split("/")[0] in parts}
