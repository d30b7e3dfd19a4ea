"""Inputs of models, written short, and files of samples for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tfopt.data import load_samples
from tfopt.errors import InvalidSamples
from tfopt.ir.types import DType, Shape, TensorType


def kind(dtype: DType, *dims: int | None) -> TensorType:
    return TensorType(dtype, Shape.of(*dims))


IMAGE = kind(DType.FLOAT32, None, 2, 3)
TWO = {"image": IMAGE, "ids": kind(DType.INT32, None)}


def images(count: int = 4) -> np.ndarray:
    return np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)


def saved(tmp_path: Path, **arrays: np.ndarray) -> Path:
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)
    return path


def refused(path: Path, inputs: Mapping[str, TensorType]) -> str:
    with pytest.raises(InvalidSamples) as caught:
        load_samples(path, inputs)
    assert caught.value.where == str(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)
