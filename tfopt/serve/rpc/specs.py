"""Whom a request is for, and who has answered it: ModelSpec messages. Source: model_servers/server_core.cc."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from tfopt.errors import Code, RequestError
from tfopt.formats.serving.api import GetModelStatusRequest, RawMultiInferenceRequest
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.serve.plane import ModelSpec


def parse(kind: Any, body: bytes) -> Any:
    """The message of this class in a request's body. Raises RequestError, as gRPC servers do for what is none."""
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise RequestError("The request is no message of this call", code=Code.INTERNAL) from error


def spec_of(request: Any) -> Any:
    """The ModelSpec message of a request. Raises RequestError."""
    if not request.HasField("model_spec"):
        raise RequestError("Missing ModelSpec")
    return request.model_spec


def read_spec(message: Any) -> ModelSpec:
    """Raises RequestError."""
    if not message.name:
        raise RequestError("ModelSpec has no name specified.")
    choice = message.WhichOneof("version_choice")
    return ModelSpec(
        message.name,
        message.version.value if choice == "version" else None,
        message.version_label if choice == "version_label" else None,
    )


def model_named(call: str, body: bytes) -> str:
    """The name of the model in the body of any call, for the log; empty when there is none."""
    kind = RawMultiInferenceRequest if call == "MultiInference" else GetModelStatusRequest
    try:
        request = kind.FromString(body)  # what another call has beside its ModelSpec is unknown to it, and passed over
    except DecodeError:
        return ""
    specs = [task.model_spec for task in request.tasks] if call == "MultiInference" else [request.model_spec]
    return specs[0].name if specs else ""


def answer_spec(message: Any, asked: Any, version: int) -> None:
    """Who has answered: the version and the signature that the request came to mean."""
    message.name = asked.name
    message.signature_name = asked.signature_name or DEFAULT_SIGNATURE
    message.version.value = version
