"""Where versions are made: each maker has a slot with a lock of its own, so that the slots of the dead are known."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfopt.store.lock import try_lock

_LOCK = "lock"
_VERSION = "version"


@contextmanager
def open_slot(staging: Path) -> Iterator[Path]:
    """A fresh slot `staging/<unique>` with an empty directory `version` in it; gives the latter.

    The caller holds the base path's lock while the slot is opened, and nobody's slot is swept meanwhile.
    When the block ends the slot goes, with what is still in it.
    """
    slot = staging / uuid.uuid4().hex
    try:
        slot.mkdir(parents=True)
        with (slot / _LOCK).open("xb") as file:
            try_lock(file)
            version = slot / _VERSION
            version.mkdir()
            yield version
    finally:
        _remove(slot)


def sweep(staging: Path) -> None:
    """Remove the slots of makers that died. The caller holds the base path's lock."""
    for slot in staging.iterdir() if staging.is_dir() else ():
        if not _is_alive(slot):
            _remove(slot)


def _is_alive(slot: Path) -> bool:
    try:
        with (slot / _LOCK).open("rb") as file:
            return not try_lock(file)
    except FileNotFoundError:
        return False


def _remove(slot: Path) -> None:
    # What cannot be removed now must not hide why the slot ends; the next maker sweeps it.
    shutil.rmtree(slot, ignore_errors=True)
