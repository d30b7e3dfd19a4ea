"""A model behind a server: where it is, what it takes, and its requests ready to be sent."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final, Literal
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from tfopt.client import Client
from tfopt.errors import Code, NotFound, RequestError, ServerUnavailable, UsageError, nearest
from tfopt.formats.serving.api import PredictRequest
from tfopt.formats.serving.tensorflow_messages import DATA_TYPES
from tfopt.formats.serving.tensors import fill_tensor
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.types import DType, Shape, TensorType

Protocol = Literal["http", "https", "grpc"]
Signatures = Mapping[str, Mapping[str, TensorType]]

_PORTS: Final = {"http": 8501, "https": 443, "grpc": 8500}
_MODEL: Final = re.compile(r"(?:/v1/models)?/([^/]+)(?:/versions/(\d+)|/labels/([^/]+))?/?")
_HINT: Final = "write http://host:port/v1/models/NAME, or grpc://host:port/NAME"
_LIST_TIMEOUT: Final = 10.0
#: Names in the metadata's JSON that are not DT_ and our name in capitals.
_DTYPES: Final = {"DT_FLOAT": DType.FLOAT32, "DT_DOUBLE": DType.FLOAT64, "DT_HALF": DType.FLOAT16}


@dataclass(frozen=True)
class Endpoint:
    """One model of one server. `version` and `label` are those asked for; at most one of them."""

    protocol: Protocol
    host: str
    port: int
    model: str
    version: int | None = None
    label: str | None = None

    @property
    def url(self) -> str:
        """As it was given, written out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}://{host}:{self.port}{self.path}"

    @property
    def path(self) -> str:
        """Of the model in TensorFlow Serving's REST interface."""
        whom = f"/versions/{self.version}" if self.version is not None else ""
        whom = f"/labels/{quote(self.label, safe='')}" if self.label is not None else whom
        return f"/v1/models/{quote(self.model, safe='')}{whom}"


def parse_endpoint(text: str) -> Endpoint:
    """`http://host:port/v1/models/NAME`, `grpc://host:port/NAME`, each with `/versions/N` or `/labels/L` if wanted.

    Without a model, a server of ours is asked for its only one. Raises UsageError, and ServerUnavailable when none
    answers.
    """
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{text!r} is no server's address: {error}", hint=_HINT) from error
    if parts.scheme not in _PORTS or not host:
        raise UsageError(f"{text!r} is no server's address", hint=_HINT)
    protocol: Any = parts.scheme
    address = protocol, host, port or _PORTS[parts.scheme]
    if parts.path in ("", "/", "/v1/models", "/v1/models/"):
        return Endpoint(*address, _only_model(*address, text))
    if (match := _MODEL.fullmatch(parts.path)) is None:
        raise UsageError(f"{text!r} names no model", hint=_HINT)
    name, version, label = match.groups()
    return Endpoint(*address, unquote(name), int(version) if version else None, unquote(label) if label else None)


def choose_server_signature(wanted: str | None, signatures: Signatures, endpoint: Endpoint) -> str:
    """The wanted signature, else serving_default, else the only one. Raises NotFound, UsageError."""
    chosen = wanted or (DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in signatures else None)
    if chosen is None and len(signatures) == 1:
        return next(iter(signatures))
    if chosen is None:
        hint = f"name one with --signature: {', '.join(sorted(signatures))}"
        raise UsageError("no signature is called serving_default", where=endpoint.url, hint=hint)
    if chosen not in signatures:
        raise NotFound(f"no signature {chosen}", where=endpoint.url, hint=nearest(chosen, signatures))
    return chosen


def rest_signatures(endpoint: Endpoint, timeout: float) -> dict[str, dict[str, TensorType]]:
    """The inputs of each signature, asked over REST. Raises RequestError, ServerUnavailable."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    with Client(f"{endpoint.protocol}://{host}:{endpoint.port}", timeout) as client:
        answer = client.metadata(endpoint.model, version=endpoint.version, label=endpoint.label)
    known = answer["metadata"]["signature_def"]["signature_def"]
    return {key: rest_inputs(signature) for key, signature in known.items()}


def rest_inputs(signature: Mapping[str, Any]) -> dict[str, TensorType]:
    """The inputs of one signature of the metadata's JSON."""
    return {name: _rest_type(info) for name, info in sorted(signature["inputs"].items())}


def proto_type(info: Any) -> TensorType:
    """The type that a TensorInfo message states. Raises RequestError for one that no array can carry."""
    if info.dtype not in DATA_TYPES:
        raise RequestError(f"an input of type {info.dtype}, which no array can hold", code=Code.UNIMPLEMENTED)
    dims = None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]
    return TensorType(DATA_TYPES[info.dtype], _shape(dims))


def rest_body(signature: str, inputs: Mapping[str, NDArray[Any]]) -> bytes:
    """A Predict request in TensorFlow Serving's columnar JSON. Raises UsageError for what JSON cannot carry."""
    columns = {name: _plain(name, array) for name, array in inputs.items()}
    return json.dumps({"signature_name": signature, "inputs": columns}).encode()


def grpc_body(endpoint: Endpoint, signature: str, inputs: Mapping[str, NDArray[Any]]) -> bytes:
    """A serialized PredictRequest."""
    request = PredictRequest()
    fill_spec(request.model_spec, endpoint)
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        fill_tensor(request.inputs[name], array)
    serialized: bytes = request.SerializeToString()
    return serialized


def fill_spec(spec: Any, endpoint: Endpoint) -> None:
    """Say in an empty ModelSpec message which model is meant."""
    spec.name = endpoint.model
    if endpoint.version is not None:
        spec.version.value = endpoint.version
    if endpoint.label is not None:
        spec.version_label = endpoint.label


def _only_model(protocol: Protocol, host: str, port: int, text: str) -> str:
    """The name of the one model that a tfopt server serves; other servers have no list."""
    if protocol == "grpc":
        raise UsageError(f"{text!r} names no model", hint=_HINT)
    host = f"[{host}]" if ":" in host else host
    try:
        with urlopen(f"{protocol}://{host}:{port}/tfopt/v1/models", timeout=_LIST_TIMEOUT) as answer:
            names: list[str] = sorted(model["name"] for model in json.load(answer)["models"])
    except (HTTPError, ValueError, KeyError) as error:  # it has no list, or something else is served there
        raise UsageError(f"{text!r} names no model", hint=_HINT) from error
    except HTTPException as error:
        hint = f"a gRPC port is named grpc://{host}:{port}/NAME"
        raise ServerUnavailable("what answers does not speak HTTP", where=text, hint=hint) from error
    except OSError as error:
        hint = "is the server running? `tfopt serve MODELS` starts one"
        said = getattr(error, "reason", error)
        raise ServerUnavailable(f"no server answers: {said}", where=text, hint=hint) from error
    if not names:
        raise UsageError(f"{text} serves no model yet", hint="wait until it has loaded one, or name it")
    if len(names) != 1:
        raise UsageError(f"{text} serves {', '.join(names)}", hint=f"name one: {text.rstrip('/')}/v1/models/{names[0]}")
    return names[0]


def _rest_type(info: Mapping[str, Any]) -> TensorType:
    shape = info["tensor_shape"]
    name = info["dtype"]
    dtype = _DTYPES.get(name) or DType(name.removeprefix("DT_").lower())
    return TensorType(dtype, _shape(None if shape["unknown_rank"] else [int(dim["size"]) for dim in shape["dim"]]))


def _shape(dims: Sequence[int] | None) -> Shape:
    return Shape(None if dims is None else tuple(size if size >= 0 else None for size in dims))


def _plain(name: str, array: NDArray[Any]) -> Any:
    if array.dtype.kind in "fiub":
        return array.tolist()
    if array.dtype.kind != "O":
        raise UsageError(f"input {name} is {array.dtype}, which JSON cannot carry", hint="grpc:// can")
    flat = [{"b64": base64.b64encode(each.encode() if isinstance(each, str) else each).decode()} for each in array.flat]
    return np.array(flat, object).reshape(array.shape).tolist()
