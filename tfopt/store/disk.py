"""Writing that lasts: fsync, atomic replacement, copies, and operating-system errors in words."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfopt.errors import InvalidModel, OutputError, OutputExists

_HINTS = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "free some space and try again",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) and try again",
    errno.EROFS: "choose a place that can be written to",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.ENOTDIR: "a part of this path is a file",
    errno.EISDIR: "name a file in it",
    errno.ENOENT: "make the directory first, or name another place",
}


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Turn what the operating system refuses into OutputError (OutputExists when something is in the way)."""
    try:
        yield
    except OSError as error:
        place = str(error.filename or where)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise OutputExists("something is there already", where=place) from error
        reason = error.strerror or str(error)
        raise OutputError(f"cannot be written: {reason}", where=place, hint=_HINTS.get(error.errno or 0)) from error


def sync_directory(directory: Path) -> None:
    """Make the entries of a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """fsync every file and directory below and including `directory`, leaves first."""
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            with Path(parent, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(parent))


def replace_file(path: Path, content: str) -> None:
    """Put `content` in the place of `path` so that a reader sees the old text or the new one, never a part.

    The caller holds the lock: the temporary name is the same for all writers.
    """
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def rename(source: Path, target: Path) -> None:
    """Rename a directory, durably."""
    source.rename(target)
    sync_directory(target.parent)


def make_directories(directory: Path) -> tuple[Path, ...]:
    """Make `directory` and its parents; gives those that were missing, outermost first."""
    made: list[Path] = []
    try:
        for path in reversed([path for path in (directory, *directory.parents) if not path.exists()]):
            path.mkdir(exist_ok=True)
            made.append(path)
    except OSError:
        remove_empty(tuple(made))
        raise
    return tuple(made)


def remove_empty(directories: tuple[Path, ...]) -> None:
    """Remove directories, given outermost first, from the inside out until one is found that somebody uses."""
    for directory in reversed(directories):
        try:
            directory.rmdir()
        except OSError:
            return


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content; the copy gets the umask's mode. Raises InvalidModel when the source cannot be read."""
    try:
        reader = source.open("rb")
    except OSError as error:
        raise InvalidModel(f"cannot be read: {error.strerror}", where=str(source)) from error
    with reader, writing(target), target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory into the existing directory `target`; links are followed, so the copy stands alone.

    Hidden entries at the top (`.git`, `.tfopt`) are no part of a model and stay behind.
    Raises InvalidModel for what is neither file nor directory, and for links that lead in a circle.
    """
    _copy_entries(source, target, (source.resolve(),))


def _copy_entries(source: Path, target: Path, above: tuple[Path, ...]) -> None:
    for entry in sorted(_entries(source)):
        if len(above) == 1 and entry.name.startswith("."):
            continue
        place = target / entry.name
        if entry.is_dir():
            real = entry.resolve()
            if real in above:
                raise InvalidModel("this link leads in a circle", where=str(entry))
            with writing(place):
                place.mkdir()
            _copy_entries(entry, place, (*above, real))
        elif entry.is_file():
            copy_file(entry, place)
        else:
            raise InvalidModel("neither a file nor a directory, or a broken link", where=str(entry))


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError as error:
        raise InvalidModel(f"cannot be read: {error.strerror}", where=str(directory)) from error


def to_json(value: Mapping[str, Any]) -> str:
    """Strict JSON of `json_ready(value)` with a final newline."""
    return json.dumps(json_ready(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def json_ready(value: Any) -> Any:
    """The value as JSON reads it back: numbers that JSON lacks become the strings `Infinity`, `-Infinity`, `NaN`, which
    `float()` reads; tuples become lists, keys text."""
    if isinstance(value, float) and value - value != 0.0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return value
