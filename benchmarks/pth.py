"""Read a PyTorch state dict without PyTorch, and without running what a pickle may ask for.

The layout is the one `torch.save` wrote before version 1.6: five pickles in a row (magic number, protocol, machine,
state dict, storage keys), then each storage as an int64 count and its little-endian values.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel, UnsafeModel

Array = NDArray[Any]

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _View:
    """A tensor as the pickle describes it: a strided window (in elements) on a storage that follows later."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, values: Array) -> Array:
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or last >= len(values):
            raise InvalidModel(f"a tensor of shape {self.shape} reaches outside of its storage")
        strides = tuple(stride * values.itemsize for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)
        return np.array(view)


def _view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _View:
    return _View(storage, offset, shape, strides)


_ALLOWED: Final[dict[tuple[str, str], Callable[..., Any] | str]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch", "FloatStorage"): "FloatStorage",
    ("torch", "LongStorage"): "LongStorage",
}


class _Unpickler(pickle.Unpickler):
    """Knows the four names that a state dict of floats and integers needs, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafeModel(
                f"the pickle asks for {module}.{name}, which no plain state dict needs",
                hint="take the weights from a source you trust",
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, *_ = pid
        return _Storage(key, _DTYPES[kind])


def state_dict(path: Path) -> dict[str, Array]:
    """The tensors of a legacy .pth file by name, float32 or int64, with PyTorch's shapes.

    Raises UnsafeModel when the file asks for anything but tensors, InvalidModel when it is broken or another format.
    """
    with path.open("rb") as file:
        try:
            return _read(file)
        except (pickle.UnpicklingError, EOFError, struct.error, TypeError, ValueError, KeyError) as error:
            raise InvalidModel("not a whole state dict in PyTorch's legacy format", where=str(path)) from error


def _read(file: BinaryIO) -> dict[str, Array]:
    magic, protocol, machine, views, keys = (_Unpickler(file).load() for _ in range(5))
    if magic != _MAGIC or protocol != _PROTOCOL or not machine["little_endian"]:
        raise ValueError("another format")
    dtypes = {view.storage.key: view.storage.dtype for view in views.values()}
    storages = {key: _values(file, dtypes[key]) for key in keys}
    return {name: view.of(storages[view.storage.key]) for name, view in views.items()}


def _values(file: BinaryIO, dtype: np.dtype[Any]) -> Array:
    (count,) = struct.unpack("<q", file.read(8))
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise EOFError("a storage is cut off")
    return np.frombuffer(content, dtype)
