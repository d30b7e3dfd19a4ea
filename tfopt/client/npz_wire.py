"""Arrays as NumPy's files, .npy for one and .npz for several by name."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from numpy.typing import ArrayLike

from tfopt.client.arrays import Array, as_array
from tfopt.errors import UsageError

NPY = "application/x-npy"
NPZ = "application/x-npz"


def npy(value: ArrayLike) -> bytes:
    file = BytesIO()
    np.save(file, _storable(value), allow_pickle=False)
    return file.getvalue()


def npz(values: Mapping[str, ArrayLike]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # np.savez could not save an array called "file"
        for name, value in values.items():
            archive.writestr(f"{name}.npy", npy(value))
    return file.getvalue()


def _storable(value: ArrayLike) -> Array:
    array = as_array(value)
    if array.dtype != object:
        return array
    leaves = [leaf.encode() if isinstance(leaf, str) else leaf for leaf in array.ravel()]
    if not all(isinstance(leaf, bytes) for leaf in leaves):
        raise UsageError("an array of objects holds strings only")
    if any(leaf.endswith(b"\0") for leaf in leaves):
        raise UsageError("strings that end in a zero byte lose it in a .npz file", hint='use wire="json"')
    return np.array(leaves, "S").reshape(array.shape)


def arrays_of(content: bytes) -> dict[str, Array]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        arrays = {name: np.load(archive.open(name), allow_pickle=False) for name in archive.namelist()}
    return {
        name.removesuffix(".npy"): array.astype(object) if array.dtype.kind == "S" else array
        for name, array in arrays.items()
    }
