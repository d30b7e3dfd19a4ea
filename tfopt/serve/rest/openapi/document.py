"""The OpenAPI description of the REST interface, made of the routes and an entry for each thing that may be asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import tfopt
from tfopt.serve.rest.messages import HTTP_STATUS
from tfopt.serve.rest.openapi.schemas import SCHEMAS, Schema
from tfopt.serve.rest.routes import OWN, SERVING, Ask

_JSON, _NPY, _NPZ, _BYTES = "application/json", "application/x-npy", "application/x-npz", "application/octet-stream"

#: What an engine or a queue may answer: any canonical code.
_ANY_ERROR = tuple(sorted({*HTTP_STATUS.values(), 413} - {200}))
_NO_MODEL = (400, 404, 500, 503)


class Entry(NamedTuple):
    """`sent` and `given` are schemas by media type; the empty one stands for bytes."""

    summary: str
    given: Mapping[str, str]
    errors: tuple[int, ...]
    sent: Mapping[str, str] = {}
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()


ENTRIES: Mapping[Ask, Entry] = {
    Ask.STATUS: Entry("States of a model's versions; a label makes no difference", {_JSON: "ModelStatus"}, _NO_MODEL),
    Ask.METADATA: Entry("The signatures of a version", {_JSON: "ModelMetadata"}, _NO_MODEL),
    Ask.PREDICT: Entry(
        "Run a signature; the answer has the form of the request unless Accept names another",
        {_JSON: "PredictResponse", _NPY: "", _NPZ: ""},
        _ANY_ERROR,
        {_JSON: "PredictRequest", _NPY: "", _NPZ: ""},
        headers=("Signature-Name",),
    ),
    Ask.CLASSIFY: Entry(
        "Label and score pairs for examples", {_JSON: "ClassifyResponse"}, _ANY_ERROR, {_JSON: "ExamplesRequest"}
    ),
    Ask.REGRESS: Entry("A number for each example", {_JSON: "RegressResponse"}, _ANY_ERROR, {_JSON: "ExamplesRequest"}),
    Ask.LIVE: Entry("Does the server answer?", {_JSON: "Health"}, (405,)),
    Ask.READY: Entry("Does every model serve a version? With 503 comes the list of models", {_JSON: "Health"}, (405,)),
    Ask.OPENAPI: Entry("This description", {_JSON: "OpenApi"}, (405,)),
    Ask.MODELS: Entry("All models, their versions, and what is wrong with them", {_JSON: "Models"}, (400, 405, 500)),
    Ask.V2_LIVE: Entry("Open Inference Protocol: live", {_JSON: "V2Live"}, (405,)),
    Ask.V2_READY: Entry("Open Inference Protocol: ready", {_JSON: "V2Ready"}, (405,)),
    Ask.V2_SERVER: Entry("Open Inference Protocol: name, version and extensions", {_JSON: "V2Server"}, (405,)),
    Ask.V2_MODEL: Entry(
        "Open Inference Protocol: a signature's tensors",
        {_JSON: "V2Model"},
        (*_NO_MODEL, 405),
        query=("signature_name",),
    ),
    Ask.V2_MODEL_READY: Entry("Open Inference Protocol: ready", {_JSON: "V2ModelReady"}, (*_NO_MODEL, 405)),
    Ask.INFER: Entry(
        "Open Inference Protocol: run a signature",
        {_JSON: "V2InferResponse", _BYTES: ""},
        (*_ANY_ERROR, 405),
        {_JSON: "V2InferRequest", _BYTES: ""},
        headers=("Inference-Header-Content-Length",),
    ),
}

_DESCRIPTIONS = {
    "Signature-Name": "the signature, percent-encoded, for bodies that are arrays",
    "Inference-Header-Content-Length": "how many bytes of the body are JSON; binary data follows",
    "signature_name": "the signature, where it is not the default one",
    "model": "the model's name, percent-encoded",
    "label": "a version's label, percent-encoded",
    "version": "a version's number",
}
_INFO = """TensorFlow Serving's REST interface under /v1/models, the Open Inference Protocol under /v2, and health.

Errors are objects with the one member `error`. OPTIONS under /v1 is answered with 200 where the request has an Origin,
else with 400. A version number beyond 64 bits is answered with 400 and an empty body, as TensorFlow Serving does."""


def openapi_document(metrics_path: str | None = None) -> dict[str, Any]:
    """`metrics_path`: where Prometheus finds the metrics, when it does."""
    paths: dict[str, Any] = {}
    for method, path, ask in (*SERVING, *OWN):
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, ask)
    if metrics_path is not None:
        text = {"200": {"description": "Prometheus' text format", "content": {"text/plain": {"schema": _TEXT}}}}
        paths[metrics_path] = {"get": {"operationId": "metrics", "summary": "Metrics", "responses": text}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tfopt", "version": tfopt.__version__, "description": _INFO},
        "paths": paths,
        "components": {"schemas": {**SCHEMAS, "OpenApi": {"type": "object"}}},
    }


_TEXT: Schema = {"type": "string"}
_RAW: Schema = {"type": "string", "format": "binary"}


def _operation(method: str, path: str, ask: Ask) -> dict[str, Any]:
    entry = ENTRIES[ask]
    places = [*((name, "path") for name in re.findall(r"{(\w+)}", path)), *((name, "header") for name in entry.headers)]
    body = {"requestBody": {"required": True, "content": _content(entry.sent)}} if entry.sent else {}
    return {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": entry.summary,
        "parameters": [_parameter(*place) for place in (*places, *((name, "query") for name in entry.query))],
        **body,
        "responses": _responses(ask, entry),
    }


def _responses(ask: Ask, entry: Entry) -> dict[str, Any]:
    responses = {str(status): _response("refused", {_JSON: "Error"}) for status in sorted(set(entry.errors))}
    if ask is Ask.READY:
        responses["503"] = _response("not ready", {_JSON: "Models"})
    if ask is Ask.V2_READY:
        responses["503"] = _response("not ready", {_JSON: "V2Ready"})
    return {"200": _response("answered", entry.given), **responses}


def _response(description: str, schemas: Mapping[str, str]) -> dict[str, Any]:
    return {"description": description, "content": _content(schemas)}


def _content(schemas: Mapping[str, str]) -> dict[str, Any]:
    return {
        media: {"schema": {"$ref": f"#/components/schemas/{name}"} if name else _RAW} for media, name in schemas.items()
    }


def _parameter(name: str, place: str) -> dict[str, Any]:
    schema: Schema = {"type": "string", "minLength": 1}
    if name == "version":
        schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
    if name == "Inference-Header-Content-Length":
        schema = {"type": "integer", "minimum": 0}
    described = {"name": name, "in": place, "schema": schema, "description": _DESCRIPTIONS[name]}
    return {**described, "required": True} if place == "path" else described
