"""Arrays and labels from .npz and .npy files. Nothing is ever unpickled."""

from __future__ import annotations

import zlib
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from tfopt.data.rows import Spool
from tfopt.errors import InvalidSamples
from tfopt.words import counted

_NPY = b"\x93NUMPY"
_ZIP = b"PK"
#: What numpy, zipfile and the tokenizer that numpy reads a header with raise on bytes that make no sense.
_DAMAGE = (
    ValueError, EOFError, KeyError, RuntimeError, MemoryError, SyntaxError, TokenError, BadZipFile, zlib.error,
)  # fmt: skip
#: The name that numpy.savez gives an array that was given none.
UNNAMED = "arr_0"
#: Elements of a packed array that are read in one go.
_PART = 1 << 20


def load_labels(path: Path, count: int) -> NDArray[np.int64]:
    """The class number of each of `count` samples, int64[count], from a .npy file or a .npz file with one array.

    Raises InvalidSamples: unreadable, more than one array, no integers, negative, not one label per sample.
    """
    where = str(path)
    arrays = read_arrays(path)
    if len(arrays) != 1:
        listed = ", ".join(sorted(arrays)) or "none"
        raise InvalidSamples(f"labels are one array, this file has {len(arrays)}", where=where, hint=f"it has {listed}")
    (labels,) = arrays.values()
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidSamples(
            f"labels are class numbers, one integer per sample, not {labels.dtype}{list(labels.shape)}",
            where=where,
            hint="labels.argmax(-1) makes class numbers of one-hot rows",
        )
    if len(labels) != count:
        raise InvalidSamples(
            f"{counted(len(labels), 'label')} for {counted(count, 'sample')}", where=where, hint="give one per sample"
        )
    if count and np.min(labels) < 0:
        raise InvalidSamples(f"label {np.min(labels)} at [{np.argmin(labels)}] is negative", where=where)
    return labels.astype(np.int64)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of a .npz or .npy file by name; the one of a .npy file is mapped, and called `UNNAMED`.

    Raises InvalidSamples for a file that is missing, unreadable or neither of the two.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_NPY))
        if head != _NPY and not head.startswith(_ZIP):
            hint = "give a .npz or .npy file, TFRecords, images, or module.py:function"
            raise InvalidSamples("this is no file of samples", where=str(path), hint=hint)
        if head == _NPY:
            return {UNNAMED: np.load(path, mmap_mode="r", allow_pickle=False)}
        with ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()}
    except FileNotFoundError as error:
        raise InvalidSamples("no such file", where=str(path)) from error
    except OSError as error:
        raise InvalidSamples(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except _DAMAGE as error:
        raise InvalidSamples(f"is damaged or not plain arrays: {error}", where=str(path)) from error


def _member(archive: ZipFile, name: str) -> NDArray[Any]:
    """One array of a .npz file, unpacked part by part; a large one is mapped from a temporary file."""
    if not name.endswith(".npy"):
        raise ValueError(f"{name} is no array")
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(member)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which are never unpickled")
        elements = Spool()
        size = max(1, dtype.itemsize)
        left = prod(shape) * dtype.itemsize
        elements.append(np.frombuffer(member.read(min(left, size)), dtype, count=min(left, 1)))
        for start in range(min(left, size), left, _PART * size):
            elements.append(np.frombuffer(member.read(min(left - start, _PART * size)), dtype))
        return elements.finish(shape[::-1]).transpose() if fortran else elements.finish(shape)
