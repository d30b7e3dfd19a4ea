"""Which files the weights of a SavedModel lie in, and how large these must be, read of `variables.index` without
TensorFlow.

Source: tensorflow/core/util/tensor_bundle, tensorflow/core/lib/io/table (LevelDB's table format),
tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tfopt.errors import InvalidModel
from tfopt.formats.snappy import uncompress
from tfopt.formats.wire import Damaged, fields, varint

_MAGIC: Final = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER: Final = 48
#: Behind each block: how it is compressed, and its checksum.
_TRAILER: Final = 5
_PLAIN, _SNAPPY = 0, 1
# BundleHeaderProto (under the empty key) and BundleEntryProto.
_NUM_SHARDS, _SHARD, _OFFSET, _SIZE = 1, 3, 4, 5


def data_files(index: Path) -> dict[str, int]:
    """The least size in bytes of each data file, by its name, which stands beside the index.

    Raises InvalidModel for what is no index, or one that is not whole.
    """
    try:
        content = index.read_bytes()
    except OSError as error:
        raise InvalidModel(f"cannot be read ({error.strerror})", where=str(index)) from error
    try:
        sizes = _sizes(content)
    except Damaged as error:
        raise InvalidModel(f"is no whole checkpoint index: {error}", where=str(index)) from error
    return {f"{index.stem}.data-{shard:05d}-of-{len(sizes):05d}": size for shard, size in enumerate(sizes)}


def _sizes(content: bytes) -> list[int]:
    """The least size of each shard."""
    if len(content) < _FOOTER or not content.endswith(_MAGIC):
        raise Damaged("its last bytes are missing")
    footer = memoryview(content)[-_FOOTER:]
    _, at = varint(footer, 0)
    _, at = varint(footer, at)
    sizes: list[int] = []
    for _, handle in _entries(_block(content, footer, at)):
        for key, value in _entries(_block(content, handle, 0)):
            known = {number: found for number, found in fields(value) if isinstance(found, int)}
            if not key:
                sizes = [0] * known.get(_NUM_SHARDS, 0)
                continue
            shard = known.get(_SHARD, 0)
            if shard >= len(sizes):
                raise Damaged(f"it names shard {shard} of {len(sizes)}")
            sizes[shard] = max(sizes[shard], known.get(_OFFSET, 0) + known.get(_SIZE, 0))
    return sizes


def _block(content: bytes, handle: memoryview, at: int) -> memoryview:
    """The block that a handle, its offset and size, points to."""
    offset, at = varint(handle, at)
    size, _ = varint(handle, at)
    if offset + size + _TRAILER > len(content):
        raise Damaged("a block of it is missing")
    block = memoryview(content)[offset : offset + size]
    compression = content[offset + size]
    if compression not in (_PLAIN, _SNAPPY):
        raise Damaged(f"it is compressed in the unknown way {compression}")
    return uncompress(block) if compression == _SNAPPY else block


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a block. A key leaves out what it shares with the one before; at the end of the block stand
    the places where that begins anew, and their number."""
    if len(block) < 4:
        raise Damaged("a block of it is too short")
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + bytes(block[at : at + own])
        at += own
        yield key, block[at : at + length]
        at += length
