"""TFRecord files: a length, its checksum, the bytes, their checksum.

Source: tensorflow/core/lib/io/record_writer.h
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from math import isqrt
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel

#: Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4).
_POLYNOMIAL = 0x82F63B78
_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")
#: Bytes read in one go.
_PART = 1 << 24


def encode_records(records: Iterable[bytes]) -> bytes:
    """The bytes of a TFRecord file."""
    return b"".join(_encode(record) for record in records)


def decode_records(content: bytes, where: str) -> Iterator[bytes]:
    """The records of a TFRecord file. Raises InvalidModel that names the first damaged one, counted from 1."""
    return read_records(io.BytesIO(content), where)


def read_records(file: BinaryIO, where: str) -> Iterator[bytes]:
    """The records of an open TFRecord file, one in memory at a time. Raises InvalidModel as `decode_records`."""
    number = 0
    while head := _read(file, _HEAD.size):
        number += 1
        if len(head) < _HEAD.size:
            raise _damaged(number, "it ends in the record's head", where)
        length, checksum = _HEAD.unpack(head)
        if checksum != _masked(head[:8]):
            raise _damaged(number, "the checksum of its length is wrong", where)
        record, tail = _read(file, length), _read(file, _TAIL.size)
        if len(tail) < _TAIL.size:
            raise _damaged(number, f"it should have {length} bytes, the file ends before", where)
        if _TAIL.unpack(tail) != (_masked(record),):
            raise _damaged(number, "its checksum is wrong", where)
        yield record


def starts_a_record(head: bytes) -> bool:
    """Are these first bytes of a file (12 or more) those of a TFRecord?"""
    return len(head) >= _HEAD.size and _TAIL.unpack_from(head, 8) == (_masked(head[:8]),)


def _read(file: BinaryIO, count: int) -> bytes:
    """`count` bytes, or as many as there are: what a damaged file claims is never asked for at once."""
    parts = []
    while count > 0 and (part := file.read(min(count, _PART))):
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720).

    A register that starts at 0 is linear in the data, and zeros before the data leave it alone. So the data, padded
    in front to a square, goes through a column of registers at once, row by row. 32 more registers carry single bits
    through as many zeros; they tell how a register moves past a row, and so how two neighbours are joined.
    """
    if len(data) < 4:
        return _crc32c_bytewise(data)
    width = isqrt(len(data)) + 1
    padded = np.zeros((width, width), np.uint8)
    flat = padded.reshape(-1)
    flat[-len(data) :] = np.frombuffer(data, np.uint8)
    # A register that starts at all ones is one that starts at 0 with the first four bytes inverted.
    flat[-len(data) : flat.size - len(data) + 4] ^= 0xFF
    registers = np.concatenate([np.zeros(width, np.uint32), np.uint32(1) << np.arange(32, dtype=np.uint32)])
    columns = np.zeros((width, width + 32), np.uint8)
    columns[:, :width] = padded.T
    for column in columns:
        registers = _TABLE[(registers ^ column) & 0xFF] ^ (registers >> 8)
    moved = [int(register) for register in registers[width:]]
    total = 0
    for register in registers[:width]:
        total = _move(total, moved) ^ int(register)
    return total ^ 0xFFFFFFFF


def _move(register: int, moved: list[int]) -> int:
    result = 0
    while register:
        lowest = register & -register
        result ^= moved[lowest.bit_length() - 1]
        register ^= lowest
    return result


def _crc32c_bytewise(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register = int(_TABLE[(register ^ byte) & 0xFF]) ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def _table() -> NDArray[np.uint32]:
    table: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    one = np.uint32(1)
    for _ in range(8):
        table = (table >> one) ^ ((table & one) * np.uint32(_POLYNOMIAL))
    return table


_TABLE = _table()


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _encode(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + _TAIL.pack(_masked(length)) + record + _TAIL.pack(_masked(record))


def _damaged(number: int, how: str, where: str) -> InvalidModel:
    return InvalidModel(f"record {number} is damaged: {how}", where=where)
