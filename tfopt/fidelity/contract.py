"""The contract: what a caller may ask for is what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

import numpy as np

from tfopt.errors import FidelityError
from tfopt.ir.types import Shape
from tfopt.runtimes.base import SignatureInfo, TensorInfo

_Fits: TypeAlias = Callable[[Shape, Shape], bool]
#: Differences that are listed; more of them have one cause most of the time.
_LISTED = 5


def check_contract(
    before: Mapping[str, SignatureInfo],
    after: Mapping[str, SignatureInfo],
    *,
    kind: Literal["saved_model", "tflite", "onnx"] = "saved_model",
    where: str | None = None,
) -> None:
    """Raise FidelityError that names what differs.

    A SavedModel keeps everything: signatures, names of inputs and outputs, dtypes, shapes, method names, defaults.
    A .tflite may lack signatures, but not all of them; it knows no method names and no defaults. Its inputs take
    every shape that the original's take, and its outputs have shapes that the original's may have. An ONNX artifact
    keeps what a SavedModel does but for the shapes, for which it is like a .tflite.
    """
    found = list(_DIFFERENCES[kind](before, after))
    if not found:
        return
    more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise FidelityError(
        f"the result's interface differs: {'; '.join(found[:_LISTED])}{more}",
        where=where,
        hint="callers of the original would break",
    )


def _saved_model(before: Mapping[str, SignatureInfo], after: Mapping[str, SignatureInfo]) -> Iterator[str]:
    yield from _names("signature", before, after)
    for key in sorted(before.keys() & after.keys()):
        old, new = before[key], after[key]
        yield from _tensors(f"{key}: input", old.inputs, new.inputs)
        yield from _tensors(f"{key}: output", old.outputs, new.outputs)
        if old.method_name != new.method_name:
            yield f"{key}: method {new.method_name!r}, was {old.method_name!r}"
        yield from _defaults(key, old, new)


def _tflite(before: Mapping[str, SignatureInfo], after: Mapping[str, SignatureInfo]) -> Iterator[str]:
    if not after:
        yield "it has no signature"
    for key, new in after.items():
        if key not in before:
            yield f"signature {key!r} is new"
            continue
        old = before[key]
        yield from _tensors(f"{key}: input", old.inputs, new.inputs, _takes_all)
        yield from _tensors(f"{key}: output", old.outputs, new.outputs, _may_be)


def _onnx(before: Mapping[str, SignatureInfo], after: Mapping[str, SignatureInfo]) -> Iterator[str]:
    yield from _names("signature", before, after)
    for key in sorted(before.keys() & after.keys()):
        old, new = before[key], after[key]
        yield from _tensors(f"{key}: input", old.inputs, new.inputs, _takes_all)
        yield from _tensors(f"{key}: output", old.outputs, new.outputs, _may_be)
        if old.method_name != new.method_name:
            yield f"{key}: method {new.method_name!r}, was {old.method_name!r}"
        yield from _defaults(key, old, new)


_DIFFERENCES = {"saved_model": _saved_model, "tflite": _tflite, "onnx": _onnx}


def _names(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    yield from (f"{what} {name!r} is missing" for name in sorted(before.keys() - after.keys()))
    yield from (f"{what} {name!r} is new" for name in sorted(after.keys() - before.keys()))


def _equal(old: Shape, new: Shape) -> bool:
    return old == new


def _takes_all(old: Shape, new: Shape) -> bool:
    """Every value of the old shape fits the new one."""
    if new.dims is None:
        return True
    return (
        old.dims is not None
        and len(old.dims) == len(new.dims)
        and all(n is None or n == o for o, n in zip(old.dims, new.dims, strict=True))
    )


def _may_be(old: Shape, new: Shape) -> bool:
    """Some value has both shapes: the two may know differently much."""
    if old.dims is None or new.dims is None:
        return True
    return len(old.dims) == len(new.dims) and all(
        None in (o, n) or o == n for o, n in zip(old.dims, new.dims, strict=True)
    )


def _tensors(
    what: str, before: Mapping[str, TensorInfo], after: Mapping[str, TensorInfo], fits: _Fits = _equal
) -> Iterator[str]:
    yield from _names(what, before, after)
    for name in sorted(before.keys() & after.keys()):
        old, new = before[name].type, after[name].type
        if old.dtype is not new.dtype or not fits(old.shape, new.shape):
            yield f"{what} {name!r} is {new}, was {old}"


def _defaults(key: str, old: SignatureInfo, new: SignatureInfo) -> Iterator[str]:
    yield from _names(f"{key}: default of", old.defaults, new.defaults)
    for name in sorted(old.defaults.keys() & new.defaults.keys()):
        a, b = old.defaults[name], new.defaults[name]
        if a.dtype is not b.dtype or not np.array_equal(a.array, b.array):
            yield f"{key}: default of {name!r} changed"
