"""What arrays must be to be samples of a model. Every refusal names the input and says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data.rows import Spool
from tfopt.data.samples import Arrays, Batching, samples_shape
from tfopt.errors import InvalidSamples
from tfopt.formats.numpy_types import array_dtype
from tfopt.ir.types import DType, TensorType
from tfopt.words import counted

#: Elements looked at in one go, so that a mapped file is never held in memory whole.
_CHUNK = 1 << 22


def checked(
    arrays: Arrays, inputs: Mapping[str, TensorType], how: Batching, *, where: str, allow_nan: bool = False
) -> dict[str, NDArray[Any]]:
    """The arrays in the model's dtypes and order. Raises InvalidSamples with the first thing that is wrong."""
    check_names(arrays, inputs, where)
    fitted = {name: _fit(name, arrays[name], kind, how, where) for name, kind in inputs.items()}
    _check_counts(fitted, how, where)
    if not allow_nan:
        for name, array in fitted.items():
            _check_finite(name, array, where)
    return fitted


def check_names(given: Iterable[str], inputs: Mapping[str, TensorType], where: str) -> None:
    """Raise InvalidSamples for an array that is no input, then for an input without array."""
    given = list(given)
    listed = ", ".join(sorted(inputs)) or "none"
    for name in given:
        if name not in inputs:
            missing = [key for key in inputs if key not in given]
            nearest = get_close_matches(name, missing or list(inputs), 1, 0.5)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            raise InvalidSamples(
                f"the model has no input called {name!r}", where=where, hint=f"{hint}Its inputs: {listed}"
            )
    for name in inputs:
        if name not in given:
            raise InvalidSamples(f"there is nothing for the input {name!r}", where=where, hint=f"inputs: {listed}")


def _fit(name: str, array: NDArray[Any], kind: TensorType, how: Batching, where: str) -> NDArray[Any]:
    shaped = _shaped(name, array, kind, how, where)
    if not isinstance(shaped, np.memmap) or shaped.size <= _CHUNK:
        return cast(name, shaped, kind.dtype, where)
    first = cast(name, shaped[:1], kind.dtype, where)
    if first.dtype == shaped.dtype:
        return shaped
    converted = Spool()
    for start, part in _chunks(shaped):
        converted.append(cast(name, part, kind.dtype, where, start))
    return converted.finish(shaped.shape)


def _chunks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Rows of an array that fit into memory, with the number of the first."""
    rows = max(1, _CHUNK * len(array) // max(1, array.size))
    for start in range(0, len(array), rows):
        yield start, array[start : start + rows]


def _shaped(name: str, array: NDArray[Any], kind: TensorType, how: Batching, where: str) -> NDArray[Any]:
    wanted = samples_shape(name, kind, how)
    if array.ndim and wanted.admits(array.shape):
        return array
    dims = kind.shape.dims
    whole_blocks = dims is not None and array.ndim == len(dims) + 1 and kind.shape.admits(array.shape[1:])
    if how.size is not None and name not in how.whole and whole_blocks:
        return array.reshape(-1, *array.shape[2:])
    given = "[" + ",".join(map(str, array.shape)) + "]"
    raise InvalidSamples(
        f"input {name!r}: the samples are {given}, the model takes {wanted} (examples first)",
        where=where,
        hint=_shape_hint(array.shape, wanted.dims or ()),
    )


def _shape_hint(given: tuple[int, ...], wanted: tuple[int | None, ...]) -> str:
    row = [dim for dim in wanted[1:] if dim is not None]
    static = len(row) == len(wanted) - 1
    if static and given == tuple(row):
        return "this is one example; add the example axis: array[None]"
    if static and given and prod(given[1:]) == prod(row):
        return f"array.reshape({', '.join(map(str, (-1, *row)))}) has the right shape"
    return "bring every example to that shape first"


def cast(name: str, array: NDArray[Any], dtype: DType, where: str, row: int = 0) -> NDArray[Any]:
    """The array in the model's dtype when nothing but a float's last digits can be lost; `row` is the number of its
    first example.

    Floats become any float and integers any integer that holds all their values; text becomes UTF-8 bytes.
    Everything else raises InvalidSamples: an integer image for a float input above all, because only the caller
    knows the scale that the model was trained with.
    """
    try:
        target = array_dtype(dtype)
    except TypeError as error:
        raise InvalidSamples(f"input {name!r} is a {dtype}, which no sample can hold", where=where) from error
    if dtype is DType.STRING and array.dtype.kind in "SUO":
        return _as_bytes(name, array, where, row)
    if array.dtype == target and dtype is not DType.STRING:
        return array
    if not _convertible(array.dtype, dtype):
        raise _wrong_dtype(name, array.dtype, dtype, where)
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(target)
    _check_cast(name, array, result, dtype, where, row)
    return result


def _convertible(given: np.dtype[Any], dtype: DType) -> bool:
    floating = given.kind == "f" or given.name == "bfloat16"
    if dtype.is_floating:
        return floating
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        return floating or given.kind == "c"
    return given.kind in "iu" and dtype not in (DType.BOOL, DType.STRING)


def _wrong_dtype(name: str, given: np.dtype[Any], dtype: DType, where: str) -> InvalidSamples:
    hint = "give text" if dtype is DType.STRING else f"convert it first: array.astype({array_dtype(dtype).name!r})"
    if given.kind in "iu" and dtype.is_floating:
        hint = f"scale it as the model's preprocessing does, for example array.astype({dtype.value!r}) / 255"
    called = "text" if given.kind in "SUO" else given.name
    return InvalidSamples(f"input {name!r}: the samples are {called}, the model takes {dtype}", where=where, hint=hint)


def _check_cast(name: str, before: NDArray[Any], after: NDArray[Any], dtype: DType, where: str, row: int) -> None:
    lost = before != after if before.dtype.kind in "iu" else np.isfinite(before) & ~np.isfinite(after)
    if lost.any():
        index = _first(lost)
        raise InvalidSamples(
            f"input {name!r}: {before[index]} at {_place(index, row)} does not fit into {dtype}",
            where=where,
            hint=f"the samples are {before.dtype.name}; bring them into the range of {dtype}",
        )


def _as_bytes(name: str, array: NDArray[Any], where: str, row: int) -> NDArray[Any]:
    result = np.empty(array.shape, object)
    for index, item in np.ndenumerate(array):
        try:
            result[index] = item.encode() if isinstance(item, str) else bytes(item)
        except UnicodeEncodeError as error:
            what = f"input {name!r}: the text at {_place(index, row)} cannot be written as UTF-8"
            raise InvalidSamples(what, where=where, hint="give it as bytes") from error
    return result


def _check_counts(arrays: Arrays, how: Batching, where: str) -> None:
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InvalidSamples(
            f"the inputs have different numbers of examples: {listed}", where=where, hint="one of each per example"
        )
    for count in counts.values():
        if count == 0:
            raise InvalidSamples("there is not one sample in it", where=where, hint="give a few hundred if you can")
        if count < how.block:
            raise InvalidSamples(
                f"{counted(count, 'sample')}, but the model takes batches of exactly {how.block}", where=where
            )


def _check_finite(name: str, array: NDArray[Any], where: str) -> None:
    if array.dtype.kind in "iubOSU" or array.size == 0:
        return
    for start, part in _chunks(array):
        bad = ~np.isfinite(part)
        if bad.any():
            index = _first(bad)
            raise InvalidSamples(
                f"input {name!r} has {part[index]} at {_place(index, start)}",
                where=where,
                hint="leave such examples out",
            )


def _first(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))


def _place(index: tuple[int, ...], row: int) -> str:
    """Where in all samples an element is that stands at `index` in those from `row` on."""
    first, *rest = index or (0,)
    return "[" + ",".join(map(str, (first + row, *rest))) + "]"
