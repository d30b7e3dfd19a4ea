"""A directory that appears whole under its name, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tfopt.errors import OutputExists
from tfopt.store.disk import make_directories, remove_empty, rename, sync_tree, writing
from tfopt.store.lock import locked
from tfopt.store.staging import open_slot, sweep


def check_absent(out: Path) -> None:
    """Raise OutputExists when something is at `out`."""
    if out.exists() or out.is_symlink():
        raise OutputExists("is there already", where=str(out), hint="name another output, or remove it first")


def check_parents(out: Path) -> None:
    """Raise OutputError when no directory can be made at `out`, so that it is told before the work for it."""
    _check_writable(out, next(parent for parent in out.absolute().parents if parent.exists()))


def check_file(path: Path) -> None:
    """Raise OutputError when no file can be written at `path`, so that it is told before the work for it."""
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not path.absolute().parent.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    _check_writable(path, path.absolute().parent)


def _check_writable(path: Path, directory: Path) -> None:
    with writing(path):
        if not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """An empty directory beside `out`, which becomes `out` when the block ends well and goes when it does not, as do
    the parents that were made for it.

    What a killed process left of its attempt is swept by the next one. Of two processes on one output, the second to
    end raises OutputExists. Raises OutputError when the place cannot be written to.
    """
    check_absent(out)
    room = out.with_name(f".{out.name}.tfopt")
    with ExitStack() as stack:
        with writing(out):
            parents = make_directories(out.parent)
        stack.callback(remove_empty, parents)
        stack.callback(_remove_if_unused, room)
        with writing(out), locked(room / "lock"):
            sweep(room / "slots")
            directory = stack.enter_context(open_slot(room / "slots"))
        yield directory
        with writing(out), locked(room / "lock"):
            sync_tree(directory)
            check_absent(out)
            rename(directory, out)


def _remove_if_unused(room: Path) -> None:
    if not room.is_dir():
        return  # it could not even be made
    with locked(room / "lock"):
        slots = room / "slots"
        if not slots.is_dir() or not any(slots.iterdir()):
            shutil.rmtree(room, ignore_errors=True)
