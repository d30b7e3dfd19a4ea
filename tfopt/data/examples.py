"""Samples from TFRecord files of tf.train.Example.

The feature `image` goes into the input `image`; `map=INPUT:FEATURE+INPUT:FEATURE` names others. A feature is brought
to the input's shape; one dimension that the model leaves open follows from the number of values. Bytes are text for
a string input, an encoded image (options of `tfopt.data.images`) for an input of 4 dimensions, else the input's
elements themselves, little-endian (`tf.io.decode_raw`).
Source: tensorflow/core/example/{example,feature}.proto.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from tfopt.data.images import image_reader, is_encoded_image
from tfopt.data.samples import batching, samples_shape
from tfopt.errors import InvalidModel, InvalidSamples, nearest
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.serving.tensorflow_messages import Example
from tfopt.formats.tfrecord import read_records, starts_a_record
from tfopt.ir.types import DType, TensorType

GZIP = b"\x1f\x8b"
_DTYPES = {"float_list": np.float32, "int64_list": np.int64}


def read_examples(
    files: Sequence[Path], inputs: Mapping[str, TensorType], options: Mapping[str, str]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Every example of the files, one after the other, as the model's inputs. Raises InvalidSamples."""
    features = _features(inputs, options, str(files[0]))
    for path in files:
        for number, record in enumerate(read_file(path), 1):
            given = _parsed(record, f"{path}, record {number}")
            yield {feature.input: feature.value(given, f"{path}, record {number}") for feature in features}


@dataclass(frozen=True, slots=True)
class _Feature:
    """Which feature an input is made of; `row` is the shape of one example."""

    input: str
    name: str
    type: TensorType
    row: tuple[int | None, ...]
    options: Mapping[str, str]

    def value(self, given: Mapping[str, Any], where: str) -> NDArray[Any]:
        if self.name not in given:
            hint = nearest(self.name, given) or f"it has {', '.join(sorted(given)) or 'none'}; map=INPUT:FEATURE"
            raise InvalidSamples(f"no feature {self.name!r} for the input {self.input!r}", where=where, hint=hint)
        kind = given[self.name].WhichOneof("kind")
        values = getattr(given[self.name], kind).value if kind else ()
        if kind == "bytes_list" and self.type.dtype is not DType.STRING:
            return self._from_bytes(values, where)
        array: NDArray[Any] = np.empty(len(values), object)
        array[:] = values
        return self._shaped(array if kind == "bytes_list" else array.astype(_DTYPES.get(kind, object)), where)

    def _from_bytes(self, values: Sequence[bytes], where: str) -> NDArray[Any]:
        if len(values) != 1:
            what = f"{len(values)} byte strings for {self.input!r}, which is {self.type}"
            raise InvalidSamples(what, where=where)
        (content,) = values
        if len(self.row) == 3 and is_encoded_image(content):
            return image_reader(self.input, self.type, self.options, where).read(content, where)
        dtype = array_dtype(self.type.dtype)
        if len(content) % dtype.itemsize:
            hint = "bytes are elements (tf.io.decode_raw) or an encoded image"
            what = f"{len(content)} bytes for {self.input!r} are no {self.type.dtype}"
            raise InvalidSamples(what, where=where, hint=hint)
        return self._shaped(np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype), where)

    def _shaped(self, array: NDArray[Any], where: str) -> NDArray[Any]:
        """Flat values in the shape of one example, of which one dimension may be open."""
        known, unknown = prod(dim for dim in self.row if dim is not None), self.row.count(None)
        fits = array.size == known if not unknown else unknown == 1 and known and array.size % known == 0
        if not fits:
            shown = ",".join("?" if dim is None else str(dim) for dim in self.row)
            what = f"{array.size} values for {self.input!r} do not make one example of [{shown}]"
            raise InvalidSamples(what, where=where)
        return array.reshape(tuple(-1 if dim is None else dim for dim in self.row))


def _features(inputs: Mapping[str, TensorType], options: Mapping[str, str], where: str) -> list[_Feature]:
    names = {name: name for name in inputs}
    for pair in filter(None, options.get("map", "").split("+")):
        name, colon, feature = pair.partition(":")
        if not colon or name not in inputs:
            hint = nearest(name, inputs) or "write map=INPUT:FEATURE+INPUT:FEATURE"
            raise InvalidSamples(f"map={pair}: not an input of the model and a feature", where=where, hint=hint)
        names[name] = feature
    how = batching(inputs)
    rows = {name: (samples_shape(name, kind, how).dims or (None, None))[1:] for name, kind in inputs.items()}
    return [_Feature(name, names[name], kind, rows[name], options) for name, kind in inputs.items()]


def _parsed(record: bytes, where: str) -> Mapping[str, Any]:
    message = Example()
    try:
        message.ParseFromString(record)
    except DecodeError as error:
        raise InvalidSamples("is no tf.train.Example", where=where) from error
    features: Mapping[str, Any] = message.features.feature
    return features


def read_file(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, packed with gzip or not. Raises InvalidSamples."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
        with cast("BinaryIO", gzip.open(path)) if packed else path.open("rb") as file:
            yield from read_records(file, str(path))
    except InvalidModel as error:
        raise InvalidSamples(error.what, where=error.where) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidSamples(f"the compressed file is damaged: {error}", where=str(path)) from error
    except OSError as error:
        raise InvalidSamples(f"cannot be read: {error.strerror or error}", where=str(path)) from error


def are_records(paths: Sequence[Path]) -> bool:
    """Are these TFRecord files, by their first bytes?"""
    return bool(paths) and all(map(_is_record_file, paths))


def _is_record_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(12)
        if head.startswith(GZIP):
            with gzip.open(path) as unpacked:
                head = unpacked.read(12)
    except (OSError, EOFError, zlib.error):
        return False
    return starts_a_record(head)
