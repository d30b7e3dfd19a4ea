"""What lies on disk of a version, to tell whether it has changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Device, inode, and of each file its path in the version, size, time of its last change and inode.
Fingerprint = tuple[tuple[str, int, int, int], ...]


def fingerprint(path: Path) -> Fingerprint:
    """Of the files in a version directory, or of a single file; empty when there is nothing.

    Another directory in this place, by rename or by a link that points elsewhere, has another fingerprint.
    """
    if not path.is_dir():
        return _entry(path, path.name)
    found = ((Path(folder) / name, folder) for folder, _, names in os.walk(path) for name in names)
    root = str(path)
    return tuple(
        sorted(entry for file, folder in found for entry in _entry(file, f"{folder.removeprefix(root)}/{file.name}"))
    )


def _entry(file: Path, name: str) -> Fingerprint:
    try:
        state = file.stat()
    except OSError:
        return ()  # gone since it was listed, which the next look will see as well
    return ((name, state.st_size, state.st_mtime_ns, state.st_ino),)


def quiet_for(path: Path) -> float:
    """Seconds since something in a version last changed; that is when its files were written, not what times a copy
    gave them. 0 when there is nothing."""
    folders = [Path(folder) / name for folder, _, names in os.walk(path) for name in (".", *names)] or [path]
    changes = []
    for file in folders:
        try:
            changes.append(file.stat().st_ctime)
        except OSError:
            continue
    return max(0.0, time.time() - max(changes)) if changes else 0.0
