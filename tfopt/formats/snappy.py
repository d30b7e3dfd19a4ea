"""Snappy's raw format, read: old checkpoints compress their index with it.

Source: https://github.com/google/snappy/blob/main/format_description.txt
"""

from __future__ import annotations

from tfopt.formats.wire import Damaged, varint

#: More than any checkpoint's block; a damaged length must not take the memory.
_LARGEST = 1 << 26


def uncompress(data: memoryview) -> memoryview:
    """Raises Damaged for what is no Snappy block."""
    wanted, at = varint(data, 0)
    if wanted > _LARGEST:
        raise Damaged(f"a block of {wanted} bytes")
    out = bytearray()
    while at < len(data):
        kind, above = data[at] & 3, data[at] >> 2
        at += 1
        if kind == 0:
            at = _literal(data, at, above, out)
            continue
        width = (1, 2, 4)[kind - 1]
        low = int.from_bytes(data[at : at + width], "little")
        at += width
        offset, length = (low | above >> 3 << 8, (above & 7) + 4) if kind == 1 else (low, above + 1)
        if not 0 < offset <= len(out):
            raise Damaged("a copy of what is not there")
        start = len(out) - offset
        for index in range(start, start + length):  # byte by byte: a copy may read what it writes
            out.append(out[index])
    if len(out) != wanted:
        raise Damaged(f"a block of {len(out)} bytes that should have {wanted}")
    return memoryview(bytes(out))


def _literal(data: memoryview, at: int, above: int, out: bytearray) -> int:
    extra = max(0, above - 59)
    length = (int.from_bytes(data[at : at + extra], "little") if extra else above) + 1
    at += extra
    if at + length > len(data):
        raise Damaged("a block ends too early")
    out += data[at : at + length]
    return at + length
