"""Snappy's raw format, by its description."""

from __future__ import annotations

import numpy as np
import pytest

from tfopt.formats.snappy import uncompress
from tfopt.formats.wire import Damaged


@pytest.mark.parametrize(
    ("packed", "content"),
    [
        (b"\x00", b""),
        (b"\x03\x08abc", b"abc"),
        (b"\x0a\x04ab\x11\x02", b"ab" + b"ab" * 4),  # a copy of one byte's offset, longer than it
        (b"\x07\x08abc\x0e\x03\x00", b"abcabca"),  # of two bytes' offset
        (b"\x06\x08abc\x0b\x03\x00\x00\x00", b"abcabc"),  # of four
        (bytes([70, 60 << 2, 69]) + b"x" * 70, b"x" * 70),  # a literal with its length beside it
    ],
)
def test_blocks(packed: bytes, content: bytes) -> None:
    assert bytes(uncompress(memoryview(packed))) == content


@pytest.mark.parametrize(
    "packed", [b"", b"\x03\x08ab", b"\x04\x08abc", b"\x07\x08abc\x0e\x04\x00", b"\xff\xff\xff\xff\x0f\x00"]
)
def test_what_is_no_block(packed: bytes) -> None:
    with pytest.raises(Damaged):
        uncompress(memoryview(packed))


def test_noise_is_refused_or_read() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        try:
            uncompress(memoryview(rng.bytes(40)))
        except Damaged:
            continue
