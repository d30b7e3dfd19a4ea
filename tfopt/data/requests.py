"""Samples from the warmup requests that a model brings along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data.checks import check_names, checked
from tfopt.data.samples import Arrays, Batching, Samples, batching
from tfopt.formats.serving.warmup import MAX_RECORDS, WARMUP_PATH, read_warmup
from tfopt.ir.types import TensorType
from tfopt.words import counted


def warmup_samples(path: Path, signature: str, inputs: Mapping[str, TensorType]) -> Samples | None:
    """The examples of all warmup requests for `signature` in the model directory `path`; None when there are none.

    Requests whose examples have another shape than most (sequences of other lengths) are left out, and the
    description says how many. Raises InvalidModel for a damaged file, InvalidSamples as `load_samples`.
    """
    file = path / WARMUP_PATH
    requests = read_requests(file, signature) if file.exists() else []
    if not requests:
        return None
    joined, used = join_requests(requests, inputs, str(file))
    how = batching(inputs)
    arrays = checked(joined, inputs, how, where=str(file))
    count = len(next(iter(arrays.values()), ()))
    description = f"{counted(count, 'sample')} from {used} of the model's {counted(len(requests), 'warmup request')}"
    return Samples(arrays, "warmup", description, how)


def read_requests(file: Path, signature: str, *, most: int | None = MAX_RECORDS) -> list[Arrays]:
    """The inputs of every recorded request for `signature`. Raises InvalidModel for a damaged file, or one of more
    than `most` records."""
    return [request.inputs for request in read_warmup(file, most=most) if request.signature == signature]


def join_requests(
    requests: Sequence[Arrays], inputs: Mapping[str, TensorType], where: str
) -> tuple[dict[str, NDArray[Any]], int]:
    """The examples of all requests whose examples have the shape of most, and how many requests these are."""
    how = batching(inputs)
    for request in requests:
        check_names(request, inputs, where)
    examples = [_examples(request, how) for request in requests]
    shapes = [_row_shapes(request) for request in examples]
    usual = Counter(shapes).most_common(1)[0][0]
    used = [request for request, shape in zip(examples, shapes, strict=True) if shape == usual]
    return {name: np.concatenate([request[name] for request in used]) for name in inputs}, len(used)


def _examples(request: Arrays, how: Batching) -> dict[str, NDArray[Any]]:
    """One request as examples: what has no batch axis is repeated for each of them."""
    counts = [len(array) for name, array in request.items() if name not in how.whole and array.ndim]
    count = counts[0] if counts else 1
    return {
        name: np.broadcast_to(array, (count, *array.shape)) if name in how.whole else np.atleast_1d(array)
        for name, array in request.items()
    }


def _row_shapes(request: Arrays) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, request[name].shape[1:]) for name in sorted(request))
