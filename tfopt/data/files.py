"""Samples and labels from .npz and .npy files. Nothing is ever unpickled."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tfopt.data.checks import checked
from tfopt.data.samples import Samples, batching
from tfopt.errors import InvalidSamples
from tfopt.ir.types import TensorType

_NPY = b"\x93NUMPY"
_ZIP = b"PK"
#: What numpy, zipfile and the tokenizer that numpy reads a header with raise on bytes that make no sense.
_DAMAGE = (
    ValueError, EOFError, KeyError, RuntimeError, MemoryError, SyntaxError, TokenError, BadZipFile, zlib.error,
)  # fmt: skip
#: The name that numpy.savez gives an array that was given none.
UNNAMED = "arr_0"


def load_samples(path: Path, inputs: Mapping[str, TensorType], *, allow_nan: bool = False) -> Samples:
    """Samples from a .npz file by input name, or from a .npy file when there is one input.

    Axis 0 of each array is the example axis; `tfopt.data.samples` says what one example is. A .npy file is mapped,
    not read. Integers are brought to the model's integer type when every value fits and floats to its float type;
    an integer image for a float input is refused, because its scale is the caller's to choose.

    Raises InvalidSamples: a file that is missing, unreadable or neither of the two, a wrong name, shape or dtype,
    no examples, different numbers of them, NaN or infinity (unless `allow_nan`).
    """
    where = str(path)
    how = batching(inputs)
    given = _by_name(read_arrays(path), inputs, where)
    arrays = checked(given, inputs, how, where=where, allow_nan=allow_nan)
    count = len(next(iter(arrays.values()), ()))
    notes = [f"{name} rounded from {given[name].dtype}" for name in arrays if _rounded(given[name], arrays[name])]
    if count % how.block:
        notes.append(f"the last {count % how.block} are left out, the model takes batches of exactly {how.block}")
    description = "; ".join([f"{count} samples from {path.name}", *notes])
    return Samples(arrays, "file", description, how)


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
        raise InvalidSamples(f"{len(labels)} labels for {count} samples", where=where, hint="give one per sample")
    if count and np.min(labels) < 0:
        raise InvalidSamples(f"label {np.min(labels)} at [{np.argmin(labels)}] is negative", where=where)
    return labels.astype(np.int64)


def _by_name(arrays: dict[str, NDArray[Any]], inputs: Mapping[str, TensorType], where: str) -> dict[str, NDArray[Any]]:
    if arrays.keys() != {UNNAMED} or UNNAMED in inputs:
        return arrays
    if len(inputs) != 1:
        raise InvalidSamples(
            f"one array without a name, but the model has {len(inputs)} inputs: {', '.join(sorted(inputs))}",
            where=where,
            hint="write a .npz: numpy.savez(path, name=array, ...)",
        )
    return dict.fromkeys(inputs, arrays[UNNAMED])


def _rounded(given: NDArray[Any], used: NDArray[Any]) -> bool:
    return used.dtype.kind != "O" and given.dtype.kind not in "iu" and given.dtype.itemsize > used.dtype.itemsize


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of a .npz or .npy file by name; the one of a .npy file is mapped, and called `UNNAMED`.

    Raises InvalidSamples for a file that is missing, unreadable or neither of the two.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_NPY))
        if head != _NPY and not head.startswith(_ZIP):
            raise InvalidSamples("this is no .npz or .npy file", where=str(path), hint="write it with numpy.savez")
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {UNNAMED: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise InvalidSamples("no such file", where=str(path)) from error
    except OSError as error:
        raise InvalidSamples(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except _DAMAGE as error:
        raise InvalidSamples(f"is damaged or not plain arrays: {error}", where=str(path)) from error
