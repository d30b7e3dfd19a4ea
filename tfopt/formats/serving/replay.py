"""All requests of a warmup file, those of tf.Examples too, as a server replays them.

Source: tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc, saved_model_warmup.cc,
core/protobuf of PredictionLog (apis/prediction_log.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from google.protobuf.message import DecodeError

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.serving.api import PredictionLog
from tfopt.formats.serving.tensors import array_of
from tfopt.formats.serving.warmup import MAX_RECORDS, WarmupRequest
from tfopt.formats.tfrecord import read_records
from tfopt.ir.graph import DEFAULT_SIGNATURE

Api = Literal["Classify", "Regress", "MultiInference"]


@dataclass(frozen=True)
class ExamplesRequest:
    """One request of serialized tensorflow.Examples. `tasks`: of each part the signature and the method_name, which
    only MultiInference, the one that has several, says."""

    api: Api
    model_name: str
    tasks: tuple[tuple[str, str], ...]
    examples: tuple[bytes, ...]


def read_replay(path: Path) -> Iterator[WarmupRequest | ExamplesRequest]:
    """The requests of a warmup file, one in memory at a time.

    Raises InvalidModel with TensorFlow Serving's words and the record's number, counted from 1, for a damaged file and
    for more than 1000 records, UnsupportedModel for a kind of request that cannot be replayed.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            for number, record in enumerate(_records(file, where), 1):
                if number > MAX_RECORDS:
                    raise InvalidModel(f"Number of warmup records exceeds the maximum ({MAX_RECORDS})", where=where)
                yield _request(record, f"{where}, record {number}")
    except OSError as error:
        raise InvalidModel(f"the warmup requests cannot be read: {error.strerror}", where=where) from error


def _records(file: Any, where: str) -> Iterator[bytes]:
    try:
        yield from read_records(file, where)
    except InvalidModel as error:
        hint = "Please verify your warmup data is in TFRecord format."
        raise InvalidModel(error.what, where=error.where, hint=hint) from error


def _request(record: bytes, where: str) -> WarmupRequest | ExamplesRequest:
    log = PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError as error:
        raise InvalidModel("Failed to parse warmup record: it is no PredictionLog message", where=where) from error
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: array_of(request.inputs[name], f"{where}, input {name}") for name in sorted(request.inputs)}
        return WarmupRequest(request.model_spec.name, request.model_spec.signature_name or DEFAULT_SIGNATURE, inputs)
    if kind == "classify_log":
        return _single("Classify", log.classify_log.request)
    if kind == "regress_log":
        return _single("Regress", log.regress_log.request)
    if kind == "multi_inference_log":
        tasks = log.multi_inference_log.request.tasks
        named = tuple((task.model_spec.signature_name, task.method_name) for task in tasks)
        model = tasks[0].model_spec.name if tasks else ""
        return ExamplesRequest("MultiInference", model, named, _examples(log.multi_inference_log.request.input))
    if kind is None:
        raise InvalidModel("is a PredictionLog without a request", where=where)
    number = log.DESCRIPTOR.fields_by_name[kind].number
    raise UnsupportedModel(f"Unsupported log_type for warmup: {number}", where=where)


def _single(api: Api, request: Any) -> ExamplesRequest:
    tasks = ((request.model_spec.signature_name, ""),)
    return ExamplesRequest(api, request.model_spec.name, tasks, _examples(request.input))


def _examples(message: Any) -> tuple[bytes, ...]:
    """Serialized examples, each behind what the context says for all: so messages are merged on the wire."""
    if message.WhichOneof("kind") == "example_list_with_context":
        with_context = message.example_list_with_context
        context = with_context.context.SerializeToString()
        return tuple(context + example.SerializeToString() for example in with_context.examples)
    return tuple(example.SerializeToString() for example in message.example_list.examples)
