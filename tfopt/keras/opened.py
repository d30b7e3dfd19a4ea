"""A file that Keras saved, as a SavedModel in a scratch directory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tfopt.errors import ConversionError, MissingExtra, UnsupportedModel
from tfopt.keras.file import KerasFile, is_keras_file, read_keras_file
from tfopt.targets.child import run_child

#: What no model of a sensible size needs.
_TIMEOUT_SECONDS = 1800.0


@contextmanager
def as_saved_model(path: Path, tell: Callable[[str], None] = lambda _: None) -> Iterator[Path]:
    """A SavedModel as it is, and what `exported` makes of a file that Keras saved."""
    if not is_keras_file(path):
        yield path
        return
    with exported(path, tell) as directory:
        yield directory


@contextmanager
def exported(path: Path, tell: Callable[[str], None] = lambda _: None) -> Iterator[Path]:
    """The SavedModel that Keras' own `model.export` makes of the file; it goes when the block ends.

    Keras loads the file in a process of its own, with its safe mode on. Raises what `read_keras_file` raises,
    UnsupportedModel in Keras' words when it cannot load or export the model, and MissingExtra for a file of Keras 2
    where that is not installed.
    """
    file = read_keras_file(path)
    check_installed(file)
    tell(f"exporting {path} with Keras {file.generation}")
    with tempfile.TemporaryDirectory(prefix="tfopt-") as directory:
        yield _export(file, Path(directory))


def check_installed(file: KerasFile) -> None:
    """Raises MissingExtra."""
    module, package, extra = (
        ("tf_keras", "tf-keras", "tfmot") if file.generation == 2 else ("keras", "keras", "tensorflow")
    )
    if find_spec(module) is None:
        raise MissingExtra.of(package, extra, f"reading {file.path.name}, a model of Keras {file.generation},")


def _export(file: KerasFile, scratch: Path) -> Path:
    output, refusal = scratch / "model", scratch / "refusal.txt"
    task = {
        "source": str(file.path.resolve()),
        "generation": file.generation,
        "output": str(output),
        "refusal": str(refusal),
    }
    what = f"Keras {file.generation}, which loads {file.path.name},"
    run_child("tfopt.keras.export", [json.dumps(task)], scratch, what=what, timeout=_TIMEOUT_SECONDS)
    if refusal.exists():
        said = " ".join(refusal.read_text(encoding="utf-8").split())
        hint = "load it in Python and export it there: model.export(DIRECTORY)"
        raise UnsupportedModel(
            f"Keras {file.version} cannot load or export it: {said[:500]}", where=str(file.path), hint=hint
        )
    if not output.is_dir():
        raise ConversionError(f"{what} wrote nothing", where=str(file.path))
    return output
