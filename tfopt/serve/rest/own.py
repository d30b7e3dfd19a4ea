"""Requests that TensorFlow Serving lacks: health, the list of models, a description of the interface."""

from __future__ import annotations

import json
from functools import cache

from tfopt.errors import Code
from tfopt.serve.plane import Plane
from tfopt.serve.rest.describe import models_text
from tfopt.serve.rest.messages import Answer, Request
from tfopt.serve.rest.openapi.document import openapi_document

_OK = b'{"status": "ok"}'


def live(plane: Plane, request: Request) -> Answer:
    return Answer(_OK)


def ready(plane: Plane, request: Request) -> Answer:
    """Ready when every model serves a version; else the list of models says which does not."""
    return Answer(_OK) if plane.is_ready() else Answer(models_text(plane.models), Code.UNAVAILABLE)


def openapi(metrics_path: str | None, plane: Plane, request: Request) -> Answer:
    return Answer(_openapi_text(metrics_path))


@cache
def _openapi_text(metrics_path: str | None) -> bytes:
    return json.dumps(openapi_document(metrics_path), indent=1).encode()


def models(plane: Plane, request: Request) -> Answer:
    return Answer(models_text(plane.models))
