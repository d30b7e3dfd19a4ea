"""What a file that Keras saved says of itself, without running any of it: the version, and what it is made of.

A `.keras` file is a zip of `metadata.json`, `config.json` and the weights; a `.h5` file has the same in attributes.
Source: https://keras.io/api/models/model_saving_apis/ and Keras' `saving/saving_lib.py`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfopt.errors import InvalidModel, MissingExtra, UnsupportedModel
from tfopt.formats.model_path import check_there

SUFFIXES: Final = (".keras", ".h5", ".hdf5")
#: Packages whose objects Keras finds by itself, and the one whose wrappers we can register.
_KNOWN: Final = ("keras", "tf_keras", "builtins", "numpy", "tensorflow_model_optimization")
_BY_HAND: Final = "export it where that is defined: model.export(DIRECTORY), and give the directory"


@dataclass(frozen=True)
class KerasFile:
    """`version` is the Keras that wrote the file ("3.15.1"), `config` its description of the model."""

    path: Path
    version: str
    config: Mapping[str, Any]

    @property
    def generation(self) -> int:
        """2 or 3: by which Keras it can be loaded."""
        return 2 if self.version.startswith(("1.", "2.")) else 3


def is_keras_file(path: Path) -> bool:
    """By its name: a file of any other name is none of Keras'."""
    return path.suffix in SUFFIXES and not path.is_dir()


def read_keras_file(path: Path) -> KerasFile:
    """Read what a file says of itself. Nothing in it is run, and its weights are not touched.

    Raises NotFound, InvalidModel for what is no such file, UnsupportedModel for weights without a model and for a model
    with code of its own (custom classes, Lambda layers), which would have to be imported or run to know what it is.
    """
    check_there(path)
    found = _zipped(path) if zipfile.is_zipfile(path) else _h5(path)
    foreign = sorted(set(_foreign(found.config)))
    if foreign:
        raise UnsupportedModel(
            f"holds code that is not Keras' own: {', '.join(foreign)}", where=str(path), hint=_BY_HAND
        )
    return found


def _zipped(path: Path) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            metadata, config = (json.loads(archive.read(name)) for name in ("metadata.json", "config.json"))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InvalidModel(f"is no model that Keras saved: {error}", where=str(path)) from error
    return KerasFile(path, str(metadata.get("keras_version", "3")), config)


def _h5(path: Path) -> KerasFile:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra.of("h5py", "tensorflow", f"reading {path.name}") from error
    try:
        with h5py.File(path) as file:
            version, config = file.attrs.get("keras_version", "2"), file.attrs.get("model_config")
    except OSError as error:
        raise InvalidModel(f"is no model that Keras saved: {error}", where=str(path)) from error
    if config is None:
        hint = "save the model itself: model.save('model.keras')"
        raise UnsupportedModel("holds weights, and no model", where=str(path), hint=hint)
    return KerasFile(path, str(version), json.loads(config))


def _foreign(entry: Any) -> Iterator[str]:
    """The classes that must be imported from elsewhere, and functions that stand in the file."""
    if isinstance(entry, list):
        for item in entry:
            yield from _foreign(item)
    if not isinstance(entry, dict):
        return
    name = entry.get("class_name")
    if name in ("Lambda", "__lambda__"):
        yield _named("a Lambda", entry)
    elif isinstance(name, str) and "module" in entry and not _is_known(entry):
        yield _named(f"{entry.get('registered_name') or name}", entry)
    else:
        for item in entry.values():
            yield from _foreign(item)


def _is_known(entry: Mapping[str, Any]) -> bool:
    module = entry["module"]
    if module is None:  # Keras' own objects that are no class of a module: its tensors in a graph of layers
        return entry.get("registered_name") in (None, entry["class_name"]) and entry["class_name"].startswith("__")
    return str(module).partition(".")[0] in _KNOWN


def _named(what: str, entry: Mapping[str, Any]) -> str:
    config = entry.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    return f"{what} ({name})" if isinstance(name, str) else what
