"""TensorFlow Serving's warmup requests: a TFRecord file of PredictionLog messages, read and written without TensorFlow.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from tfopt.errors import InvalidModel, OutputError, UsageError
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.serving_schema import DATA_TYPES, PredictionLog
from tfopt.formats.tfrecord import decode_records, encode_records
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.types import DType, dtype_of

WARMUP_PATH = "assets.extra/tf_serving_warmup_requests"
#: TensorFlow Serving does not load a model that has more.
MAX_RECORDS = 1000
#: Bytes of a protobuf message at most. A tensor's short form (one value for all) could name any size.
_LARGEST_MESSAGE = 1 << 31

_NUMBERS = {dtype: number for number, dtype in DATA_TYPES.items()}
#: The field that lists the values of a tensor which has no tensor_content.
_VALUES = {
    DType.FLOAT16: "half_val", DType.BFLOAT16: "half_val", DType.FLOAT32: "float_val", DType.FLOAT64: "double_val",
    DType.INT8: "int_val", DType.INT16: "int_val", DType.INT32: "int_val", DType.UINT8: "int_val",
    DType.UINT16: "int_val", DType.QINT8: "int_val", DType.QUINT8: "int_val", DType.QINT32: "int_val",
    DType.INT64: "int64_val", DType.UINT32: "uint32_val", DType.UINT64: "uint64_val", DType.BOOL: "bool_val",
    DType.COMPLEX64: "scomplex_val", DType.COMPLEX128: "dcomplex_val", DType.STRING: "string_val",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class WarmupRequest:
    """One Predict request. Strings are object arrays of bytes."""

    model_name: str
    signature: str
    inputs: Mapping[str, NDArray[Any]]


def read_warmup(path: Path) -> list[WarmupRequest]:
    """The Predict requests of a warmup file. Requests of the other APIs hold tf.Examples, no tensors: left out.

    Raises InvalidModel with the record's number, counted from 1, for a damaged file and for one that TensorFlow
    Serving would refuse because it is too long.
    """
    where = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidModel(f"the warmup requests cannot be read: {error.strerror}", where=where) from error
    found = []
    for number, record in enumerate(decode_records(content, where), 1):
        if number > MAX_RECORDS:
            raise InvalidModel(f"more than the {MAX_RECORDS} warmup requests TensorFlow Serving takes", where=where)
        found += _requests(record, f"{where}, record {number}")
    return found


def is_request(record: bytes) -> bool:
    """Is this record of a TFRecord file a PredictionLog?"""
    log = PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError:
        return False
    return log.WhichOneof("log_type") is not None


def write_warmup(path: Path, requests: Iterable[WarmupRequest]) -> None:
    """Write a warmup file: same requests, same bytes.

    Raises UsageError for more than 1000 requests, OutputError when the file cannot be written.
    """
    records = [_record(request) for request in requests]
    if len(records) > MAX_RECORDS:
        raise UsageError(f"{len(records)} warmup requests; TensorFlow Serving takes {MAX_RECORDS}", where=str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_records(records))
    except OSError as error:
        raise OutputError(f"the warmup requests cannot be written: {error.strerror}", where=str(path)) from error


def _requests(record: bytes, where: str) -> list[WarmupRequest]:
    log = PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError as error:
        raise InvalidModel("is no PredictionLog message", where=where) from error
    kind = log.WhichOneof("log_type")
    if kind is None:
        raise InvalidModel("is a PredictionLog without a request", where=where)
    if kind != "predict_log":
        return []
    request = log.predict_log.request
    inputs = {name: _array(request.inputs[name], f"{where}, input {name}") for name in sorted(request.inputs)}
    spec = request.model_spec
    return [WarmupRequest(spec.name, spec.signature_name or DEFAULT_SIGNATURE, inputs)]


def _record(request: WarmupRequest) -> bytes:
    log = PredictionLog()
    message = log.predict_log.request
    message.model_spec.name = request.model_name
    message.model_spec.signature_name = request.signature
    for name, array in request.inputs.items():
        fill_tensor(message.inputs[name], array)
    serialized: bytes = log.SerializeToString(deterministic=True)
    return serialized


def fill_tensor(message: Any, array: NDArray[Any]) -> None:
    """Put the array into an empty TensorProto; strings are object arrays of bytes or text."""
    dtype = dtype_of(array)
    message.dtype = _NUMBERS[dtype]
    message.tensor_shape.SetInParent()
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if dtype is DType.STRING:
        message.string_val.extend(item.encode() if isinstance(item, str) else bytes(item) for item in array.flat)
    else:
        message.tensor_content = array.astype(array.dtype.newbyteorder("<")).tobytes()


def _array(message: Any, where: str) -> NDArray[Any]:
    dtype = DATA_TYPES.get(message.dtype)
    if dtype is None:
        raise InvalidModel(f"a tensor of type {message.dtype}, which no array can hold", where=where)
    shape = tuple(dim.size for dim in message.tensor_shape.dim)
    if message.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise InvalidModel("a tensor without a full shape", where=where)
    if prod(shape) * max(1, dtype.itemsize) > _LARGEST_MESSAGE:
        raise InvalidModel(f"a tensor of shape {list(shape)} is too large for a request", where=where)
    flat = _content(message, dtype, where) if message.tensor_content else _listed(message, dtype, prod(shape))
    if flat.size != prod(shape):
        raise InvalidModel(f"{flat.size} values for a tensor of shape {list(shape)}", where=where)
    return flat.reshape(shape)


def _content(message: Any, dtype: DType, where: str) -> NDArray[Any]:
    carrier = array_dtype(dtype)
    if dtype is DType.STRING or len(message.tensor_content) % carrier.itemsize:
        raise InvalidModel(f"{len(message.tensor_content)} bytes are no {dtype} tensor", where=where)
    return np.frombuffer(message.tensor_content, carrier.newbyteorder("<")).astype(carrier)


def _listed(message: Any, dtype: DType, size: int) -> NDArray[Any]:
    """The values of the field for `dtype`; the last one, or zero, stands for all that are missing, as in TensorFlow."""
    values = _numbers(getattr(message, _VALUES[dtype]), dtype)
    if len(values) >= size:
        return values
    missing: Any = values[-1] if len(values) else (b"" if dtype is DType.STRING else 0)
    full = np.full(size, missing, values.dtype)
    full[: len(values)] = values
    return full


def _numbers(values: Any, dtype: DType) -> NDArray[Any]:
    carrier = array_dtype(dtype)
    if dtype is DType.STRING:
        strings = np.empty(len(values), carrier)
        strings[:] = list(values)
        return strings
    if dtype in (DType.FLOAT16, DType.BFLOAT16):
        # half_val holds bit patterns, in the low half of each number.
        return np.array(values, np.int64).astype(np.uint16).view(carrier)
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        parts = np.array(values, np.float32 if dtype is DType.COMPLEX64 else np.float64)
        return parts[: parts.size // 2 * 2].view(carrier)
    return np.array(values, np.int64 if carrier.kind == "i" else carrier).astype(carrier)
