"""Names that people can read, and no two alike."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")
_ODD = re.compile(r"[^A-Za-z0-9_.\\/>-]")


def readable(name: str) -> str:
    """The name without what inlining and re-saving left in it; empty when nothing else was there."""
    return "/".join(part for part in name.split("/") if part and not _CALL.fullmatch(part))


class Names:
    """Gives out names that are free."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def free(self, *wishes: str) -> str:
        """The first wish that is a free name, else the first one with a number."""
        wishes = tuple(filter(None, map(_valid, wishes)))
        for wish in wishes:
            if self._take(wish):
                return wish
        number = 1
        while not self._take(f"{wishes[0]}_{number}"):
            number += 1
        return f"{wishes[0]}_{number}"

    def _take(self, name: str) -> bool:
        if name in self._taken:
            return False
        self._taken.add(name)
        return True


def _valid(wish: str) -> str:
    """TensorFlow's rule for node names: no odd characters, and the first a letter, a digit or a dot."""
    name = _ODD.sub("_", wish)
    return name if not name or name[0].isalnum() or name[0] == "." else f"n{name}"


def joined(parts: Iterable[str]) -> str:
    return "/".join(filter(None, parts))
