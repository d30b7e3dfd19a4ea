"""Where versions come from: what a user names on the command line, as models and their version directories."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tfopt.errors import NotFound, UsageError
from tfopt.store import frozen_graph_in, is_version_directory, read_labels, scan, version_number, visible


@dataclass(frozen=True)
class Listing:
    """What is in service at one moment: version directories by number, and numbers by label. `notes`: what is odd about
    it, for people."""

    versions: Mapping[int, Path]
    labels: Mapping[str, int]
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """The versions of one model."""

    @property
    def path(self) -> Path: ...

    def list(self) -> Listing:
        """Raises NotFound when the path cannot be read, InvalidModel when its labels cannot."""


@dataclass(frozen=True)
class BasePath:
    """A directory with one directory a version, which come and go."""

    path: Path

    def list(self) -> Listing:
        there = list(visible(self.path))
        found = dict(sorted(there))
        passed_over = [path for number, path in there if found[number] != path]
        notes = [f"{path.name} is passed over for another directory of that number" for path in passed_over]
        return Listing(found, read_labels(self.path), tuple(notes))


@dataclass(frozen=True)
class SingleVersion:
    """One version directory, .tflite or .onnx file that is named itself; as long as it is there, it is served."""

    path: Path
    number: int

    def list(self) -> Listing:
        if not self.path.exists():
            raise NotFound("there is no such model any more", where=str(self.path))
        return Listing({self.number: self.path}, {})


def find_sources(models: Sequence[str | Path]) -> dict[str, Source]:
    """Models by name, each given as `path` or `name=path`.

    A path is a model's base path, a directory of such, a single version directory (or SavedModel), or a .tflite or
    .onnx file.
    Raises NotFound for a path that is none of these, UsageError for two models of one name.
    """
    found: dict[str, Source] = {}
    for model in models:
        name, path = _split(model)
        for key, source in _sources_at(name, path).items():
            if key in found:
                what = f"two models are called {key}: {found[key].path} and {source.path}"
                raise UsageError(what, hint="give one another name: other=path")
            found[key] = source
    if not found:
        raise UsageError("no model to serve", hint="name a model's base path")
    return found


def _split(model: str | Path) -> tuple[str | None, Path]:
    if isinstance(model, str) and "=" in model and not Path(model).exists():
        name, _, path = model.partition("=")
        if not name or any(letter in name for letter in "/:"):
            hint = "a name has no / and no :, as it goes into URLs"
            raise UsageError(f"{name!r} cannot be a model's name", hint=hint)
        return name, Path(path)
    return None, Path(model)


def _sources_at(name: str | None, path: Path) -> dict[str, Source]:
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, which are moved to publish
    if path.is_file() and path.suffix in (".tflite", ".onnx"):
        return {name or path.stem: SingleVersion(path, 1)}
    if not path.is_dir():
        raise NotFound("there is no such model", where=str(path))
    if is_version_directory(path) or frozen_graph_in(path) is not None:
        number = version_number(path.name)
        parent = path.name if number is None else path.parent.name
        return {name or parent: SingleVersion(path, 1 if number is None else number)}
    if name is not None or _has_versions(path):
        return {name or path.name: BasePath(path)}
    children = sorted(child for child in path.iterdir() if child.is_dir() and _has_versions(child))
    if not children:
        hint = (
            "wanted: a directory with numbered versions, a directory of such, a SavedModel, a .tflite or a .onnx file"
        )
        raise NotFound("there is no model in this directory", where=str(path), hint=hint)
    return {child.name: BasePath(child) for child in children}


def _has_versions(path: Path) -> bool:
    # A base path whose versions are all held is a model too.
    return bool(scan(path)) or (path / ".tfopt").is_dir()
