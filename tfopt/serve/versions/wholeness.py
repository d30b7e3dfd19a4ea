"""Is all of a version there? A copy that is under way looks like a version, and TensorFlow even loads one whose
variables are missing."""

from __future__ import annotations

from pathlib import Path

from tfopt.errors import InvalidModel
from tfopt.formats.checkpoint_index import data_files
from tfopt.formats.saved_model_parts import parts_of
from tfopt.formats.wire import Damaged
from tfopt.store import frozen_graph_in, is_version_directory, read_manifest
from tfopt.store.onnx_files import onnx_files

#: Seconds that something incomplete must lie still before it counts as broken, not as a copy under way.
PATIENCE = 10.0


def lacking(path: Path) -> str | None:
    """What is not there of this version, as far as can be told without an engine; None when nothing is known to lack.

    A manifest names every file; a SavedModel tells its variables and assets, and the index of the variables how large
    their files are; a .onnx file tells where it ends and which files it needs. Raises OSError.
    """
    if path.is_file():
        return None
    try:
        manifest = read_manifest(path)
        if manifest is not None:
            missing = next((name for name in manifest.files if not (path / name).is_file()), None)
            if missing is not None:
                return f"{missing}, which the manifest lists, is missing"
        elif not is_version_directory(path) and frozen_graph_in(path) is None:
            return "there is no SavedModel, no model.tflite, no model.onnx and no frozen graph in it"
        lacking_onnx = _lacking_onnx(path / "model.onnx") if (path / "model.onnx").is_file() else None
        if lacking_onnx is not None:
            return lacking_onnx
        return _lacking_saved_model(path) if (path / "saved_model.pb").is_file() else None
    except InvalidModel as error:
        return f"{Path(error.where or path).name}: {error.what}"
    except FileNotFoundError as error:
        return f"{error.filename} is gone"


def _lacking_onnx(path: Path) -> str | None:
    """Raises InvalidModel for a file that is not whole."""
    missing = next((file for file in onnx_files(path) if not file.is_file()), None)
    return None if missing is None else f"{missing.name}, which model.onnx names, is missing"


def _lacking_saved_model(path: Path) -> str | None:
    try:
        parts = parts_of(path / "saved_model.pb")
    except Damaged as error:
        return f"saved_model.pb is not whole: {error}"
    variables = path / "variables"
    index = variables / "variables.index"
    if not index.is_file():
        # Without variables the directory is made all the same, and may stay empty.
        if parts.variables:
            return "variables/variables.index is missing"
    else:
        for name, size in data_files(index).items():
            file = variables / name
            there = file.stat().st_size if file.is_file() else -1
            if there < size:
                return f"variables/{name} " + ("is missing" if there < 0 else f"has {there} bytes of {size}")
    missing = next((name for name in parts.assets if not (path / "assets" / name).is_file()), None)
    return None if missing is None else f"assets/{missing} is missing"
