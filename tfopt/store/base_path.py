"""Reading a base path by TensorFlow Serving's rules (sources/storage_path/file_system_storage_path_source.cc)."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfopt.errors import InvalidModel, NotFound
from tfopt.store.manifest import Manifest, read_manifest

HELD = ".held"
PRIVATE = ".tfopt"
LARGEST = 2**63 - 1

# absl::SimpleAtoi<int64>: surrounding white space and a sign are fine, anything else is not a number.
_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_LEADING_NUMBER = re.compile(r"([0-9]+)(\..*)?", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class VersionEntry:
    """One version. `held`: out of service. `labels` are sorted."""

    number: int
    path: Path
    held: bool
    labels: tuple[str, ...] = ()

    @property
    def manifest(self) -> Manifest | None:
        """Read anew each time. Raises as `read_manifest`."""
        return read_manifest(self.path)

    @property
    def bytes(self) -> int:
        """The size of all files, counted anew each time; of a version that is being deleted, of those still there."""
        return sum(_size(path) for path in self.path.rglob("*"))


def _size(path: Path) -> int:
    try:
        state = path.stat()
    except OSError:
        return 0
    return state.st_size if stat.S_ISREG(state.st_mode) else 0


def version_number(name: str) -> int | None:
    """The version that a directory of this name holds, or None: `00000123` is 123, `5.held` and `tmp` are none."""
    if not _NUMBER.fullmatch(name):
        return None
    number = int(name)
    return number if -LARGEST - 1 <= number <= LARGEST else None


def claimed_number(name: str) -> int | None:
    """The number that an entry of any kind occupies: of `7` and of what is left of it (`7.held`, `7.tmp`)."""
    number = version_number(name)
    leading = _LEADING_NUMBER.fullmatch(name)
    return version_number(leading[1]) if number is None and leading else number


def scan(base: Path) -> dict[int, Path]:
    """The versions in service, by ascending number. Of two names for one number, the last in sorted order counts.

    Unlike TF Serving this skips plain files, which could only fail to load. Raises NotFound without a base path.
    """
    return dict(sorted(visible(base)))


def visible(base: Path) -> Iterator[tuple[int, Path]]:
    """Number and directory of what is in service, sorted by name; a number may come twice (`1` and `001`)."""
    for path in sorted(directories(base)):
        number = version_number(path.name)
        if number is not None:
            yield number, path


def held(base: Path) -> Iterator[tuple[int, Path]]:
    """Number and directory of what is out of service, sorted by name."""
    for path in sorted(directories(base)):
        number = version_number(path.name.removesuffix(HELD)) if path.name.endswith(HELD) else None
        if number is not None:
            yield number, path


def directories(base: Path) -> list[Path]:
    """The directories in a base path. Raises NotFound when it cannot be read.

    A listing is no snapshot: while entries are renamed it may miss the old name and the new one. So it counts when
    the next one agrees.
    """
    try:
        names, again = None, _directory_names(base)
        while names != again:
            names, again = again, _directory_names(base)
    except OSError as error:
        raise NotFound(f"this base path cannot be read: {error.strerror}", where=str(base)) from error
    return [base / name for name in again]


def _directory_names(base: Path) -> list[str]:
    with os.scandir(base) as listing:  # tells directories apart in the same step, unlike Path.iterdir
        return [entry.name for entry in listing if _is_directory(entry)]


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads in a circle; the versions beside it are as good as before


def read_labels(base: Path) -> dict[str, int]:
    """Version number by label, sorted. Raises InvalidModel when the file is not what `Store.label` writes."""
    path = base / PRIVATE / "labels.json"
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModel(f"cannot be read: {error}", where=str(path)) from error
    if not isinstance(labels, dict) or not all(type(number) is int for number in labels.values()):
        raise InvalidModel("must be a JSON object of label: version number", where=str(path))
    return dict(sorted(labels.items()))


def entries(base: Path) -> list[VersionEntry]:
    """All versions by ascending number, held ones too. Raises NotFound without a base path."""
    labels = read_labels(base)
    found = {(number, True): path for number, path in held(base)}
    found.update({(number, False): path for number, path in visible(base)})
    return [
        VersionEntry(number, path, is_held, _labels_of(number, labels))
        for (number, is_held), path in sorted(found.items())
    ]


def _labels_of(number: int, labels: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(label for label, target in labels.items() if target == number)


#: Files that lie beside a SavedModel and are no graphs.
_NO_GRAPHS = frozenset({"fingerprint.pb", "keras_metadata.pb", "saved_model.pb"})


def frozen_graph_in(path: Path) -> Path | None:
    """The one GraphDef file of a version directory without a SavedModel, `*.pb` under any other name."""
    found = [file for file in sorted(path.glob("*.pb")) if file.name not in _NO_GRAPHS and file.is_file()]
    return found[0] if len(found) == 1 and not (path / "saved_model.pb").is_file() else None


def is_version_directory(path: Path) -> bool:
    """Does this directory hold an artifact that can be served?"""
    names = ("saved_model.pb", "saved_model.pbtxt", "model.tflite", "model.onnx")
    return any((path / name).is_file() for name in names)
