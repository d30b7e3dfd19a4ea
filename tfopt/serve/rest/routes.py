"""What a request asks for, by its method and target.

Sources: model_servers/http_rest_api_util.cc (the two patterns) and http_server.cc; the Open Inference Protocol's
specification.
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
    OPENAPI = "openapi"
    V2_LIVE = "v2 live"
    V2_READY = "v2 ready"
    V2_SERVER = "v2 server"
    V2_MODEL = "v2 model"
    V2_MODEL_READY = "v2 model ready"
    INFER = "infer"


_NOBODY = ModelSpec("")


@dataclass(frozen=True)
class Route:
    ask: Ask
    spec: ModelSpec = _NOBODY
    query: str = ""


class WrongMethod(RequestError):
    """A path that there is, but not for this method."""

    def __init__(self, method: str, target: str, allowed: str) -> None:
        super().__init__(f"{method} {target}: the method is to be {allowed}", code=Code.UNIMPLEMENTED)
        self.allowed = allowed


class EmptyRefusal(RequestError):
    """Refused without a body, as TensorFlow Serving does for a version number beyond 64 bits."""


#: TensorFlow Serving's requests, for people to read: what matches them are the two patterns.
SERVING = tuple(
    (method, f"/v1/models/{{model}}{whom}{what}", ask)
    for method, what, ask in (
        ("GET", "", Ask.STATUS),
        ("GET", "/metadata", Ask.METADATA),
        ("POST", ":predict", Ask.PREDICT),
        ("POST", ":classify", Ask.CLASSIFY),
        ("POST", ":regress", Ask.REGRESS),
    )
    for whom in ("", "/versions/{version}", "/labels/{label}")
)
#: Paths that TensorFlow Serving answers with 404. What is in braces stands for a name or a number.
OWN = (
    ("GET", "/healthz", Ask.LIVE),
    ("GET", "/readyz", Ask.READY),
    ("GET", "/openapi.json", Ask.OPENAPI),
    ("GET", "/tfopt/v1/models", Ask.MODELS),
    ("GET", "/v2", Ask.V2_SERVER),
    ("GET", "/v2/health/live", Ask.V2_LIVE),
    ("GET", "/v2/health/ready", Ask.V2_READY),
    ("GET", "/v2/models/{model}", Ask.V2_MODEL),
    ("GET", "/v2/models/{model}/versions/{version}", Ask.V2_MODEL),
    ("GET", "/v2/models/{model}/ready", Ask.V2_MODEL_READY),
    ("GET", "/v2/models/{model}/versions/{version}/ready", Ask.V2_MODEL_READY),
    ("POST", "/v2/models/{model}/infer", Ask.INFER),
    ("POST", "/v2/models/{model}/versions/{version}/infer", Ask.INFER),
)


def _compiled(template: str) -> re.Pattern[str]:
    names = {"model": "(?P<name>[^/]+)", "version": "(?P<version>[0-9]+)"}
    pieces = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(names[piece] if index % 2 else re.escape(piece) for index, piece in enumerate(pieces)))


_OWN = [(method, _compiled(template), ask) for method, template, ask in OWN]


#: Characters of a target up to which its route is remembered.
_SHORT = 500


def find_route(method: str, target: str) -> Route:
    """`target` is the path with its query, still percent-encoded. Raises RequestError."""
    return _known_route(method, target) if len(target) <= _SHORT else _find_route(method, target)


def _find_route(method: str, target: str) -> Route:
    if not _API.fullmatch(target):
        path, _, query = target.partition("?")
        for allowed, template, ask in _OWN:
            if found := template.fullmatch(path):
                return _own_route(method, target, allowed, Route(ask, _spec(found), query))
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


_known_route = lru_cache(maxsize=1024)(_find_route)


def _own_route(method: str, target: str, allowed: str, route: Route) -> Route:
    if method == "OPTIONS":
        return Route(Ask.PREFLIGHT)
    if method != allowed and (method, allowed) != ("HEAD", "GET"):
        raise WrongMethod(method, target, allowed)
    return route


def _spec(found: re.Match[str]) -> ModelSpec:
    groups = found.groupdict()
    name, digits = unquote(groups.get("name") or ""), groups.get("version")
    if digits is not None and len(digits.lstrip("0")) > len(str(_LARGEST_VERSION)):
        raise RequestError(f"There is no version {digits} of {name}", code=Code.NOT_FOUND)
    return ModelSpec(name, None if digits is None else int(digits.lstrip("0") or "0"))


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    if len(digits) > 4000 or int(digits) > _LARGEST_VERSION:
        raise EmptyRefusal(f"Failed to convert version: {digits} to numeric.")
    return int(digits)
