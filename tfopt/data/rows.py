"""Arrays that need not be in memory: rows chosen from one, and one that grows into a file when it gets large."""

from __future__ import annotations

import tempfile
from math import prod
from typing import Any, BinaryIO, Protocol, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray

#: Bytes of one array that stay in memory; a larger one is mapped from a temporary file.
IN_MEMORY = 1 << 28

Index: TypeAlias = "slice | NDArray[np.int64]"


class Rows(Protocol):
    """What samples need of an array: axis 0 counts examples, and rows come into memory when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Index, /) -> NDArray[Any]: ...


class ChosenRows:
    """The rows of a mapped array at `indices`, in that order, read when they are asked for."""

    def __init__(self, source: Rows, indices: NDArray[np.int64]) -> None:
        self._source = source
        self._indices = indices

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._indices), *self._source.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._source.dtype

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: slice, /) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: NDArray[np.int64], /) -> NDArray[Any]: ...
    def __getitem__(self, index: Index, /) -> NDArray[Any]:
        return np.asarray(self._source[self._indices[index]])

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._source[self._indices], dtype)


def choose(array: Rows, indices: NDArray[np.int64]) -> Rows:
    """The rows at `indices`: copied from an array in memory, left where they are in a mapped one."""
    if isinstance(array, np.memmap | ChosenRows):
        return ChosenRows(array, indices)
    return array[indices]


def first(array: NDArray[Any], limit: int | None) -> NDArray[Any]:
    """The first `limit` rows; all of an array without rows, which is refused later, by name."""
    return array if limit is None or not array.ndim else array[:limit]


class Spool:
    """Collects arrays of one dtype end to end; past `in_memory` bytes they go on in a temporary file, which goes with
    the last reader of the result (or with the process, however it ends)."""

    def __init__(self, in_memory: int | None = None) -> None:
        self._limit = IN_MEMORY if in_memory is None else in_memory
        self._parts: list[NDArray[Any]] = []
        self._bytes = 0
        self._file: BinaryIO | None = None

    def append(self, part: NDArray[Any]) -> None:
        """Raises ValueError for another dtype than before: bytes of the two would run together."""
        if self._parts and self._parts[0].dtype != part.dtype:
            raise ValueError(f"an array of {self._parts[0].dtype} cannot go on in {part.dtype}")
        self._bytes += part.nbytes
        if part.dtype.kind == "O" or (self._file is None and self._bytes <= self._limit):
            self._parts.append(part.reshape(-1))
            return
        if self._file is None:
            self._file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - lives as long as the mapping
            for earlier in self._parts:
                self._file.write(_plain_bytes(earlier))
        self._parts = [part.reshape(-1)[:0]]
        self._file.write(_plain_bytes(part))

    def finish(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """All of it in one array of this shape. Raises ValueError when it has another number of elements."""
        if self._file is None:
            return (self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)).reshape(shape)
        self._file.flush()
        dtype = self._parts[0].dtype
        if prod(shape) * dtype.itemsize != self._bytes:
            raise ValueError(f"{self._bytes} bytes are no {dtype}{list(shape)}")
        return np.memmap(self._file, dtype, "r", shape=shape)


def _plain_bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
