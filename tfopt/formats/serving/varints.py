"""Protobuf's packed integers, whole arrays of them at once.

Source: https://protobuf.dev/programming-guides/encoding/#varints
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes of the longest one: 64 bits in sevens.
_LONGEST = 10


def packed(values: NDArray[Any]) -> bytes:
    """Of integers of one dimension. Negative ones take ten bytes, as those of protobuf's int32 and int64 do."""
    if values.size == 0:
        return b""
    if values.min() >= 0 and values.max() < 0x80:
        return values.astype(np.uint8).tobytes()
    numbers = values.astype(np.int64).view(np.uint64) if values.dtype.kind == "i" else values.astype(np.uint64)
    lengths = np.ones(numbers.size, np.int64)
    for place in range(1, _LONGEST):
        lengths += numbers >= np.uint64(1 << (7 * place))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    out = np.empty(int(ends[-1]), np.uint8)
    for place in range(int(lengths.max())):
        here = lengths > place
        low = (numbers[here] >> np.uint64(7 * place)).astype(np.uint8) & np.uint8(0x7F)
        more = (lengths[here] > place + 1).astype(np.uint8) << np.uint8(7)
        out[starts[here] + place] = low | more
    return out.tobytes()


def unpacked(content: bytes) -> NDArray[np.uint64]:
    """Raises ValueError for what ends within a number, or holds one of more than ten bytes."""
    octets = np.frombuffer(content, np.uint8)
    last = octets < 0x80
    if last.all():
        return octets.astype(np.uint64)
    if not last[-1]:
        raise ValueError("packed integers end within a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > _LONGEST:
        raise ValueError(f"a packed integer of {longest} bytes")
    numbers = np.zeros(ends.size, np.uint64)
    for place in range(longest):
        here = lengths > place
        low = octets[starts[here] + place].astype(np.uint64) & np.uint64(0x7F)
        numbers[here] |= low << np.uint64(7 * place)
    return numbers
