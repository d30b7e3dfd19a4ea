"""Examples that come one by one, collected into samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data.rows import Spool
from tfopt.errors import InvalidSamples

#: One example: each input's array without the example axis.
Example = Mapping[str, NDArray[Any]]


def collect(examples: Iterable[Example], where: str, limit: int | None = None) -> dict[str, NDArray[Any]]:
    """All examples (or the first `limit`), stacked by input name; large inputs are mapped from a file.

    Raises InvalidSamples, with its number from 0, for an example whose inputs, shape or dtype are not those of the
    first one. No example gives no inputs.
    """
    collected: dict[str, Spool] = {}
    first: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    count = 0
    for example in islice(examples, limit):
        arrays = {name: np.asarray(array) for name, array in example.items()}
        kinds = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if not count:
            first = kinds
            collected = {name: Spool() for name in arrays}
        _check_alike(first, kinds, f"{where}, example {count}")
        for name, array in arrays.items():
            collected[name].append(array.reshape(-1))
        count += 1
    return {name: spool.finish((count, *first[name][0])) for name, spool in collected.items()}


def _check_alike(
    first: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    other: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    where: str,
) -> None:
    if first.keys() != other.keys():
        raise InvalidSamples(
            f"it has {', '.join(sorted(other))}, the first one {', '.join(sorted(first))}", where=where
        )
    for name, (shape, dtype) in other.items():
        if first[name][0] != shape:
            hint = "samples of one input have one shape: pad, crop or leave out"
            raise InvalidSamples(f"{name!r} is {list(shape)}, before {list(first[name][0])}", where=where, hint=hint)
        if first[name][1] != dtype:
            raise InvalidSamples(f"{name!r} is {dtype}, before {first[name][1]}", where=where, hint="give one dtype")
