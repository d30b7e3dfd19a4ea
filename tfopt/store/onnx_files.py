"""Which files belong to a .onnx file: those of the model's other signatures, and the weights that lie beside it.

Only the file's outline is read, in protobuf's wire format: weights are passed over, so that this needs neither memory
nor the package onnx.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from tfopt.errors import InvalidModel

_SIGNATURES = b"tfopt.signatures"
#: Messages within messages, by field number, down to what names files.
_WITHIN = {
    "model": {7: "graph", 14: "metadata", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "external"},
}
_ENTRIES = ("metadata", "external")
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5

#: Bytes of a file that is read. A larger one is mapped, which ends the process when the file is cut off meanwhile.
_READ = 64 << 20

_Entry: TypeAlias = "tuple[str, bytes, bytes]"


def onnx_files(path: Path) -> list[Path]:
    """The file, the other signatures' files, then files of weights; whether the latter two are there is not checked.

    Raises InvalidModel for what cannot be read, is no ONNX file, or names files outside of its directory.
    """
    entries = _entries(path)
    others = sorted(_signature_files(entries, path))
    weights = set(_weight_files(entries, path))
    for other in others:
        if other.is_file():
            weights.update(_weight_files(_entries(other), other))
    return [path, *others, *sorted(weights)]


def _signature_files(entries: list[_Entry], path: Path) -> set[Path]:
    """As `runtimes.onnxruntime` finds them: the first signature is this file's, whatever it is called now."""
    told = next((value for kind, key, value in entries if kind == "metadata" and key == _SIGNATURES), None)
    if told is None:
        return set()
    try:
        names = [entry["file"] for entry in json.loads(told).values()]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidModel("its metadata does not say where its signatures are", where=str(path)) from error
    return {_beside(path, name) for name in names[1:] if name not in (names[0], path.name)}


def _weight_files(entries: list[_Entry], path: Path) -> Iterator[Path]:
    for kind, key, value in entries:
        if kind == "external" and key == b"location":
            yield _beside(path, value.decode(errors="replace"))


def _beside(path: Path, name: str) -> Path:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or not place.parts:
        raise InvalidModel(f"a part of it is {name!r}, outside of its directory", where=str(path))
    return path.parent / place


def _entries(path: Path) -> list[_Entry]:
    """Metadata and places of weights: kind, key and value."""
    try:
        if path.stat().st_size <= _READ:
            content = path.read_bytes()
            if not content:
                raise ValueError("an empty file")
            return list(_walk(content, 0, len(content), "model"))
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return list(_walk(mapped, 0, len(mapped), "model"))
    except OSError as error:
        raise InvalidModel(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, IndexError, RecursionError) as error:
        raise InvalidModel("is no ONNX file, or a damaged one", where=str(path)) from error


def _walk(content: mmap.mmap | bytes, start: int, end: int, message: str) -> Iterator[_Entry]:
    if message in _ENTRIES:
        fields = {number: content[first:last] for number, first, last in _fields(content, start, end)}
        yield message, fields.get(1, b""), fields.get(2, b"")
        return
    for number, first, last in _fields(content, start, end):
        within = _WITHIN[message].get(number)
        if within is not None:
            yield from _walk(content, first, last, within)


def _fields(content: mmap.mmap | bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number and place of every field that has a length. Raises ValueError when they do not fill the place exactly."""
    while start < end:
        key, start = _varint(content, start)
        kind = key & 7
        if kind == _LENGTH:
            size, start = _varint(content, start)
            yield key >> 3, start, min(start + size, end)
            start += size
        elif kind == _VARINT:
            _, start = _varint(content, start)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            start += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of kind {kind}")
    if start != end:
        raise ValueError("a field goes on behind its message")


def _varint(content: mmap.mmap | bytes, start: int) -> tuple[int, int]:
    """The number, and where it ends."""
    value = shift = 0
    while True:
        byte = content[start]
        value |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return value, start
