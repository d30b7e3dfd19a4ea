"""Sizes as people write them."""

from __future__ import annotations

import re

from tfopt.errors import UsageError

_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes: "1GB" is 10**9, "1 GiB" is 2**30. Raises UsageError."""
    found = _SIZE.fullmatch(text)
    unit = _UNITS.get(found[2].upper()) if found else None
    size = 0 if found is None or unit is None else int(float(found[1]) * unit)
    if size < 1:
        raise UsageError(f"{text!r} is no size", hint="a number with B, kB, MB, GB, KiB, MiB or GiB")
    return size
