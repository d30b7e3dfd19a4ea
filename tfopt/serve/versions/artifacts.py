"""Which artifacts of a version may serve it, the first choice first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, Literal

from tfopt.errors import InvalidModel
from tfopt.store import Manifest, frozen_graph_in

Engine = Literal["litert", "onnxruntime", "tensorflow"]
RuntimeChoice = Literal["auto", "litert", "onnxruntime", "tensorflow"]

#: The order of `auto`: the fastest to start and the smallest first, the one that has the whole contract last.
ORDER: Final[tuple[Engine, ...]] = ("litert", "onnxruntime", "tensorflow")
_FILES: Final[dict[Engine, tuple[str, str]]] = {
    "litert": ("tflite", "model.tflite"),
    "onnxruntime": ("onnx", "model.onnx"),
}
#: What serves by order starts sooner and takes less memory, and gives way only to what is faster by this factor.
_SURELY: Final = 1.1
_SAVED_MODELS: Final = ("saved_model.pb", "saved_model.pbtxt")


@dataclass(frozen=True)
class Candidate:
    """An artifact that may serve a version; `path` is what its runtime opens, `requires` what the manifest says."""

    engine: Engine
    kind: str
    path: Path
    requires: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        return "the SavedModel" if self.kind == "saved_model" else self.path.name


def candidates(
    path: Path, manifest: Manifest | None, choice: RuntimeChoice, prefer: Engine | None = None
) -> tuple[Candidate, ...]:
    """The artifacts of a version directory that may serve it, in the order in which they are tried; at least one.

    `auto` takes those that the manifest says have passed the gate, and the SavedModel: the preferred one, then what was
    surely faster when the version was published, else in `ORDER`. Without a manifest nobody has compared them: then it
    is the preferred one, as with TensorFlow Serving's --prefer_tflite_model, else the SavedModel, or what there is.
    Raises InvalidModel when there is none, or not the one that `choice` asks for.
    """
    there = {found.engine: found for found in _found(path, manifest)}
    if choice != "auto":
        return (_chosen(path, manifest, choice, there),)
    passed = [there[engine] for engine in ORDER if engine in there and _has_passed(manifest, there[engine])]
    if not passed:
        raise _nothing(path)
    if manifest is None:
        wanted = (prefer, "tensorflow", passed[0].engine)
        return (next(there[engine] for engine in wanted if engine in there),)
    return tuple(sorted(_fastest_first(passed, manifest), key=lambda found: found.engine != prefer))


def _fastest_first(passed: list[Candidate], manifest: Manifest) -> list[Candidate]:
    """The others stay behind the fastest in their order, and nothing is moved for less than `_SURELY`."""
    seconds = {found.kind: manifest.seconds(found.kind) or inf for found in passed}
    fastest = min(passed, key=lambda found: seconds[found.kind])
    if seconds[passed[0].kind] <= _SURELY * seconds[fastest.kind]:
        return passed
    return sorted(passed, key=lambda found: found is not fastest)


def lone_file(path: Path) -> Candidate:
    """A .tflite or .onnx file that is a version by itself."""
    engine: Engine = "onnxruntime" if path.suffix == ".onnx" else "litert"
    return Candidate(engine, _FILES[engine][0], path)


def saved_model_of(path: Path, manifest: Manifest) -> Candidate | None:
    """The SavedModel of a version, which has every signature; None when it has been left out."""
    return next((found for found in _found(path, manifest) if found.engine == "tensorflow"), None)


def _found(path: Path, manifest: Manifest | None) -> Iterator[Candidate]:
    def requires(kind: str) -> tuple[str, ...]:
        return () if manifest is None else manifest.requires(kind)

    for engine, (kind, file) in _FILES.items():
        if (path / file).is_file():
            yield Candidate(engine, kind, path / file, requires(kind))
    if any((path / name).is_file() for name in _SAVED_MODELS):
        yield Candidate("tensorflow", "saved_model", path, requires("saved_model"))
    elif (frozen := frozen_graph_in(path)) is not None:
        yield Candidate("tensorflow", "graph_def", frozen)


def _has_passed(manifest: Manifest | None, found: Candidate) -> bool:
    return manifest is None or found.engine == "tensorflow" or found.kind in manifest.artifacts


def _chosen(path: Path, manifest: Manifest | None, choice: Engine, there: dict[Engine, Candidate]) -> Candidate:
    found = there.get(choice)
    if found is not None and _has_passed(manifest, found):
        return found
    if choice == "tensorflow":
        raise _nothing(path)
    state = "is not there" if found is None else "has not passed the gate, says the manifest"
    hint = "serve it with --runtime auto or tensorflow"
    raise InvalidModel(f"{_FILES[choice][1]} {state}", where=str(path), hint=hint)


def _nothing(path: Path) -> InvalidModel:
    return InvalidModel("there is no SavedModel", where=str(path), hint="serve what there is with --runtime auto")
