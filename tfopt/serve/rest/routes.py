"""What a request asks for, by its method and target.

Sources: model_servers/http_rest_api_util.cc (the two patterns) and http_server.cc.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote

from tfopt.errors import Code, RequestError
from tfopt.serve.plane import ModelSpec

_LARGEST_VERSION = 2**63 - 1
_WHOM = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(rf"/v1/models/(?P<name>[^/:]+){_WHOM}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHOM}(?P<verb>/metadata)?", re.IGNORECASE)
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)


class Ask(str, Enum):
    PREDICT = "predict"
    CLASSIFY = "classify"
    REGRESS = "regress"
    STATUS = "status"
    METADATA = "metadata"
    PREFLIGHT = "preflight"
    LIVE = "live"
    READY = "ready"
    MODELS = "models"


_NOBODY = ModelSpec("")


@dataclass(frozen=True)
class Route:
    ask: Ask
    spec: ModelSpec = _NOBODY


class EmptyRefusal(RequestError):
    """Refused without a body, as TensorFlow Serving does for a version number beyond 64 bits."""


#: Paths of ours, which TensorFlow Serving answers with 404.
_OWN = {"/healthz": Route(Ask.LIVE), "/readyz": Route(Ask.READY), "/tfopt/v1/models": Route(Ask.MODELS)}


@lru_cache(maxsize=1024)
def find_route(method: str, target: str) -> Route:
    """`target` is the path with its query, still percent-encoded. Raises RequestError."""
    if method in ("GET", "HEAD") and target in _OWN:
        return _OWN[target]
    if not _API.fullmatch(target):
        hint = "TensorFlow Serving's API is under /v1/models, the list of models at /tfopt/v1/models"
        raise RequestError(f"Not found: {method} {target}", code=Code.NOT_FOUND, hint=hint)
    if method == "OPTIONS":
        return Route(Ask.PREFLIGHT)
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    found = pattern.fullmatch(target) if pattern else None
    if found is None:
        raise RequestError(f"Malformed request: {method} {target}")
    name, label = (None if text is None else unquote(text) for text in (found["name"], found["label"]))
    # The version is looked at first, as TensorFlow Serving does.
    spec = ModelSpec(name or "", _version(found["version"]), label)
    if not spec.name:
        raise RequestError("Missing model name in request.")
    verb = (found["verb"] or "status").lower().lstrip("/")
    return Route(Ask(verb), spec)


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    if len(digits) > 4000 or int(digits) > _LARGEST_VERSION:
        raise EmptyRefusal(f"Failed to convert version: {digits} to numeric.")
    return int(digits)
