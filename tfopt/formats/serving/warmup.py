"""TensorFlow Serving's warmup requests: a TFRecord file of PredictionLog messages, read and written without TensorFlow.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from tfopt.errors import InvalidModel, OutputError, UsageError
from tfopt.formats.serving.api import PredictionLog
from tfopt.formats.serving.tensors import array_of, fill_tensor
from tfopt.formats.tfrecord import decode_records, encode_records
from tfopt.ir.graph import DEFAULT_SIGNATURE

WARMUP_PATH = "assets.extra/tf_serving_warmup_requests"
#: TensorFlow Serving does not load a model that has more.
MAX_RECORDS = 1000


@dataclass(frozen=True, eq=False)
class WarmupRequest:
    """One Predict request. Strings are object arrays of bytes."""

    model_name: str
    signature: str
    inputs: Mapping[str, NDArray[Any]]


def read_warmup(path: Path, *, most: int | None = MAX_RECORDS) -> list[WarmupRequest]:
    """The Predict requests of a warmup file. Requests of the other APIs hold tf.Examples, no tensors: left out.

    Raises InvalidModel with the record's number, counted from 1, for a damaged file and for one that TensorFlow
    Serving would refuse because it has more than `most` records; None takes a request log of any length.
    """
    where = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidModel(f"the warmup requests cannot be read: {error.strerror}", where=where) from error
    found = []
    for number, record in enumerate(decode_records(content, where), 1):
        if most is not None and number > most:
            raise InvalidModel(f"more than the {most} warmup requests TensorFlow Serving takes", where=where)
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
    inputs = {name: array_of(request.inputs[name], f"{where}, input {name}") for name in sorted(request.inputs)}
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
