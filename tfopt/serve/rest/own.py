"""Requests that TensorFlow Serving lacks: health, and the list of models."""

from __future__ import annotations

from tfopt.errors import Code
from tfopt.serve.plane import Plane
from tfopt.serve.rest.describe import models_text
from tfopt.serve.rest.messages import Answer, Request

_OK = b'{"status": "ok"}'


def live(plane: Plane, request: Request) -> Answer:
    return Answer(_OK)


def ready(plane: Plane, request: Request) -> Answer:
    """Ready when every model serves a version; else the list of models says which does not."""
    return Answer(_OK) if plane.is_ready() else Answer(models_text(plane.models), Code.UNAVAILABLE)


def models(plane: Plane, request: Request) -> Answer:
    return Answer(models_text(plane.models))
