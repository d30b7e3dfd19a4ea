"""Random samples, for when there are none. They show that a model still computes the same, not that it is any good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data.samples import Samples, batching, samples_shape
from tfopt.errors import InvalidSamples
from tfopt.formats.numpy_types import array_dtype
from tfopt.ir.types import DType, TensorType
from tfopt.words import counted

#: An index into any table: token types, of which there are often two, and masks stand beside token ids.
_LARGEST_INTEGER = 1
_WORDS = (b"alpha", b"beta", b"gamma", b"delta", b"epsilon", b"zeta", b"eta", b"theta")


def synthetic_samples(
    inputs: Mapping[str, TensorType], count: int = 64, seed: int = 0, unknown_dim: int = 1
) -> Samples:
    """`count` random examples: floats standard normal, bytes of any value, other integers 0 or 1, words as strings.

    Unknown dimensions other than the batch are `unknown_dim`. `count` grows to full batches when the model fixes
    their size. Raises InvalidSamples for an input that no array can hold (a resource).
    """
    how = batching(inputs)
    count = -(-count // how.block) * how.block
    random = np.random.default_rng(seed)
    arrays = {}
    for name, kind in inputs.items():
        row = (samples_shape(name, kind, how).dims or (None,))[1:]
        shape = (count, *(unknown_dim if dim is None else dim for dim in row))
        arrays[name] = _draw(random, name, kind.dtype, shape)
    return Samples(arrays, "synthetic", f"{counted(count, 'synthetic sample')}: random numbers, no real data", how)


def _draw(random: np.random.Generator, name: str, dtype: DType, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype in (DType.RESOURCE, DType.VARIANT):
        raise InvalidSamples(f"input {name!r} is a {dtype}, which no sample can hold")
    if dtype is DType.STRING:
        return np.array(_WORDS, object)[random.integers(0, len(_WORDS), shape)]
    if dtype is DType.BOOL:
        return random.integers(0, 2, shape).astype(bool)
    if dtype.is_floating:
        return random.standard_normal(shape).astype(array_dtype(dtype))
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(array_dtype(dtype))
    carrier = array_dtype(dtype)
    if dtype in (DType.INT4, DType.UINT4):
        return random.integers(0, 8, shape).astype(carrier)
    if carrier.itemsize == 1:
        limits = np.iinfo(carrier)
        return random.integers(limits.min, limits.max, shape, carrier, endpoint=True)
    return random.integers(0, _LARGEST_INTEGER, shape, endpoint=True).astype(carrier)
