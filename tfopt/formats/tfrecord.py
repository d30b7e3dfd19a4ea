"""TFRecord files: a length, its checksum, the bytes, their checksum.

Source: tensorflow/core/lib/io/record_writer.h
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel

#: Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4).
_POLYNOMIAL = 0x82F63B78
_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")


def encode_records(records: Iterable[bytes]) -> bytes:
    """The bytes of a TFRecord file."""
    return b"".join(_encode(record) for record in records)


def decode_records(content: bytes, where: str) -> Iterator[bytes]:
    """The records of a TFRecord file. Raises InvalidModel that names the first damaged one, counted from 1."""
    start, number = 0, 0
    while start < len(content):
        number += 1
        body = start + _HEAD.size
        if body > len(content):
            raise _damaged(number, "it ends in the record's head", where)
        length, checksum = _HEAD.unpack_from(content, start)
        if checksum != _masked(content[start : start + 8]):
            raise _damaged(number, "the checksum of its length is wrong", where)
        end = body + length
        if end + _TAIL.size > len(content):
            raise _damaged(number, f"it should have {length} bytes, the file ends before", where)
        record = content[body:end]
        if _TAIL.unpack_from(content, end) != (_masked(record),):
            raise _damaged(number, "its checksum is wrong", where)
        yield record
        start = end + _TAIL.size


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
