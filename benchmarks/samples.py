"""What the benchmarks' models are run on: photographs and text where the model makes something of them, else noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import efficientnet_lite
from benchmarks.photographs import imagenet_samples
from benchmarks.texts import text_samples
from tfopt.data import synthetic_samples
from tfopt.formats.saved_model import read_saved_model

#: Tokens of a passage.
LENGTH: Final = 32

Arrays = Mapping[str, NDArray[Any]]


def samples_of(name: str, model: Path, count: int = 16, seed: int = 0) -> Arrays:
    """`count` examples for each input of the model's first signature, by input name."""
    if name in _REAL:
        return {key: array[:count] for key, array in _REAL[name]().items()}
    signature = next(iter(read_saved_model(model).signatures.values()))
    inputs = {key: entry.type for key, entry in signature.inputs.items() if key not in signature.defaults}
    samples = synthetic_samples(inputs, count, seed, unknown_dim=LENGTH)
    return {key: _plain(rows[: samples.count]) for key, rows in samples.arrays.items()}


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Strings of a fixed width, which a file holds without pickling them."""
    return array.astype(np.bytes_) if array.dtype.kind == "O" else array


def _photographs() -> Arrays:
    return {"image": efficientnet_lite.as_input(imagenet_samples()[0])}


_REAL: Final[Mapping[str, Callable[[], Arrays]]] = {
    "efficientnet_lite0": _photographs,
    "minilm": lambda: text_samples(LENGTH),
}
