"""The values of a SavedModel's variables, read one by one and checked for damage.

Source: tensorflow/core/util/tensor_bundle/tensor_bundle.h.
"""

from __future__ import annotations

import re
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel
from tfopt.formats.protos import tf

_HINT = "copy the whole SavedModel directory, variables included, or export it again"
# What the reader raises depends on where in the file the damage is.
_BROKEN = (tf.errors.OpError, IndexError, ValueError, RuntimeError)


class Checkpoint:
    """`variables/variables.*` below a SavedModel. Nothing is opened before the first value is asked for.

    Every method raises InvalidModel, naming the file, when files are missing, cut short or damaged.
    """

    def __init__(self, model: Path) -> None:
        self._prefix = model / "variables" / "variables"
        self._sliced: tuple[str, NDArray[Any]] = ("", np.empty(0))

    def read(self, name: str, part: str = "") -> NDArray[Any]:
        """The tensor of that name, its checksum verified, in the one copy that was read from disk.

        `part` is what a partitioned variable holds of it: its shape, then a range (`start,length`) or `-` for each
        axis, as in `10 4 0,5:-`.
        """
        if not part:
            return self._whole(name)
        if self._sliced[0] != name:  # the parts of one variable follow each other
            self._sliced = name, self._whole(name)
        whole = self._sliced[1]
        window = _window(part)
        if window is None or len(window) != whole.ndim:
            raise InvalidModel(f"has no part {part!r} of {name}", where=str(self._index), hint=_HINT)
        return np.ascontiguousarray(whole[window])

    def _whole(self, name: str) -> NDArray[Any]:
        if not self._reader.has_tensor(name):
            raise InvalidModel(f"holds no value for {name}", where=str(self._index), hint=_HINT)
        try:
            array: NDArray[Any] = self._reader.get_tensor(name)
        except _BROKEN as error:
            raise self._damaged(error) from error
        return array

    @property
    def _index(self) -> Path:
        return self._prefix.with_suffix(".index")

    @cached_property
    def _reader(self) -> tf.train.CheckpointReader:
        if not self._index.is_file():
            raise InvalidModel("is missing, and the model needs its variables", where=str(self._index), hint=_HINT)
        size = sum(shard.stat().st_size for shard in self._shards)
        try:
            reader = tf.train.load_checkpoint(str(self._prefix))
        except _BROKEN as error:
            raise InvalidModel("is damaged", where=str(self._index), hint=_HINT) from error
        self._check_size(reader, size)
        return reader

    @cached_property
    def _shards(self) -> list[Path]:
        found = sorted(self._prefix.parent.glob(f"{self._prefix.name}.data-*"))
        count = max((int(name[1]) for shard in found if (name := re.search(r"-of-(\d{5})$", shard.name))), default=1)
        shards = [self._prefix.with_suffix(f".data-{number:05}-of-{count:05}") for number in range(count)]
        for shard in shards:
            if shard not in found:
                raise InvalidModel("is missing, and the model needs its variables", where=str(shard), hint=_HINT)
        return shards

    def _check_size(self, reader: tf.train.CheckpointReader, size: int) -> None:
        """Find files that were cut short, also behind the last value that the model needs."""
        dtypes = reader.get_variable_to_dtype_map()
        needed = sum(prod(shape) * dtypes[name].size for name, shape in reader.get_variable_to_shape_map().items())
        if size < needed:
            raise InvalidModel("is cut short", where=str(self._shards[-1]), hint=_HINT)
        for name, dtype in dtypes.items():
            if dtype == tf.string:  # of no fixed size, so only reading tells
                try:
                    reader.get_tensor(name)
                except _BROKEN as error:
                    raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InvalidModel:
        """TensorFlow names the shard by its number, or not at all."""
        number = re.search(r"shard (\d+)", str(error))
        shard = self._shards[min(int(number[1]), len(self._shards) - 1) if number else -1]
        return InvalidModel(f"is damaged ({str(error).partition(chr(10))[0]})", where=str(shard), hint=_HINT)


def _window(part: str) -> tuple[slice, ...] | None:
    """Source: tensorflow/core/framework/tensor_slice.h."""
    window = []
    for axis in part.rpartition(" ")[2].split(":"):
        start, _, length = axis.partition(",")
        if axis != "-" and not (start.isdecimal() and length.isdecimal()):
            return None
        window.append(slice(None) if axis == "-" else slice(int(start), int(start) + int(length)))
    return tuple(window)
