"""Protobuf's bytes, walked without knowing the message: quick where only a few fields of a large one matter.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Damaged(ValueError):
    """These bytes are no message, or their end is missing."""


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, and where the next begins."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Damaged("a number ends too early")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers of the fields of a message and what they hold: numbers as int, all else as its bytes, not copied."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = varint(message, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            length, at = varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise Damaged(f"a field of the unknown kind {kind}")
        if at + length > len(message):
            raise Damaged("a field ends too early")
        yield tag >> 3, message[at : at + length]
        at += length


def spans(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """As `fields` of a message that lies in a file, of which only what stands between its fields is read: numbers of
    those that hold bytes, and where in the file these begin and end."""
    at = start
    while at < end:
        file.seek(at)
        tag, kind = divmod(_read_varint(file), 8)
        if kind == _VARINT:
            _read_varint(file)
            at = file.tell()
            continue
        if kind not in (_BYTES, _FIXED64, _FIXED32):
            raise Damaged(f"a field of the unknown kind {kind}")
        length = _read_varint(file) if kind == _BYTES else 8 if kind == _FIXED64 else 4
        at = file.tell()
        if at + length > end:
            raise Damaged("a field ends too early")
        if kind == _BYTES:
            yield tag, at, at + length
        at += length


def _read_varint(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise Damaged("a number ends too early")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
