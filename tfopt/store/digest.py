"""SHA-256 of files and trees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tfopt.errors import InvalidModel


def digest_file(path: Path) -> str:
    """SHA-256 of the content, in hex. Raises InvalidModel when the file cannot be read."""
    state = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                state.update(chunk)
    except OSError as error:
        raise InvalidModel(f"cannot be read: {error.strerror}", where=str(path)) from error
    return state.hexdigest()


def digest_files(directory: Path) -> dict[str, str]:
    """SHA-256 by path relative to `directory`, with forward slashes, sorted.

    Raises InvalidModel for a file that cannot be read, and for a name that is no UTF-8, which no manifest can hold.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {_name(path.relative_to(directory)): digest_file(path) for path in files}


def _name(relative: Path) -> str:
    name = relative.as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidModel("a file's name is not UTF-8", where=ascii(name), hint="rename or remove the file") from error
    return name


def joint_digest(files: Mapping[str, str]) -> str:
    """One SHA-256 for several files, from their names and digests, whatever their order."""
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sorted(files.items())).encode()).hexdigest()


def tree_digest(path: Path) -> str:
    """One SHA-256 for a file, or for the names and contents of all files of a directory."""
    return joint_digest(digest_files(path)) if path.is_dir() else digest_file(path)
