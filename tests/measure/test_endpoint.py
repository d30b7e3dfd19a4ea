"""URLs, bodies and types of a model behind a server."""

from __future__ import annotations

import json
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread

import numpy as np
import pytest

from tfopt.errors import NotFound, ServerUnavailable, TfoptError, UsageError
from tfopt.formats.serving.api import PredictRequest
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.measure.endpoint import Endpoint, choose_server_signature, grpc_body, parse_endpoint, rest_body

X = {"x": TensorType(DType.FLOAT32, Shape((None, 2)))}


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("http://host:1/v1/models/m", Endpoint("http", "host", 1, "m")),
        ("host/v1/models/m/", Endpoint("http", "host", 8501, "m")),
        ("https://host/m/versions/3", Endpoint("https", "host", 443, "m", version=3)),
        ("grpc://host/m", Endpoint("grpc", "host", 8500, "m")),
        ("grpc://[::1]:9/a%20b/labels/canary%2F1", Endpoint("grpc", "::1", 9, "a b", label="canary/1")),
    ],
)
def test_addresses(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert parse_endpoint(endpoint.url) == endpoint


@pytest.mark.parametrize("text", ["ftp://host/m", "http://", "http://host:no/m", "http://host/a/b/c", "grpc://host"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="write http://host:port/v1/models/NAME"):
        parse_endpoint(text)


def test_a_server_that_cannot_be_asked_for_its_models() -> None:
    with pytest.raises(ServerUnavailable, match="no server answers"):
        parse_endpoint("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
            ServerUnavailable,
            "does not speak HTTP; a gRPC port is named grpc://",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", UsageError, "names no model; write http://host:port/v1/models/NAME"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", UsageError, "names no model"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", UsageError, "names no model"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"models": []}', UsageError, "serves no model yet"),
    ],
)
def test_an_address_without_a_scheme_where_something_else_answers(
    answer: bytes, error: type[TfoptError], words: str
) -> None:
    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer)

    with TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(error, match=words):
            parse_endpoint(f"127.0.0.1:{server.server_address[1]}")
        thread.join()


def test_the_path_of_a_model() -> None:
    assert Endpoint("http", "h", 1, "a/b", label="x y").path == "/v1/models/a%2Fb/labels/x%20y"
    assert Endpoint("http", "h", 1, "m", version=2).path == "/v1/models/m/versions/2"


def test_a_json_body() -> None:
    inputs = {"x": np.array([[1.5, 2.0]], np.float32), "w": np.array([b"\xff", "text"], object)}
    assert json.loads(rest_body("s", inputs)) == {
        "signature_name": "s",
        "inputs": {"x": [[1.5, 2.0]], "w": [{"b64": "/w=="}, {"b64": "dGV4dA=="}]},
    }
    with pytest.raises(UsageError, match="input z is complex64, which JSON cannot carry; grpc:// can"):
        rest_body("s", {"z": np.zeros(1, np.complex64)})


def test_a_message() -> None:
    endpoint = Endpoint("grpc", "h", 1, "m", version=7)
    request = PredictRequest.FromString(grpc_body(endpoint, "s", {"x": np.array([[1, 2]], np.int64)}))
    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 7)
    assert request.model_spec.signature_name == "s"
    assert [dim.size for dim in request.inputs["x"].tensor_shape.dim] == [1, 2]
    labelled = PredictRequest.FromString(grpc_body(Endpoint("grpc", "h", 1, "m", label="canary"), "s", {}))
    assert labelled.model_spec.version_label == "canary"


def test_which_signature() -> None:
    endpoint = Endpoint("http", "h", 1, "m")
    assert choose_server_signature(None, {"serving_default": X, "b": X}, endpoint) == "serving_default"
    assert choose_server_signature(None, {"b": X}, endpoint) == "b"
    assert choose_server_signature("b", {"a": X, "b": X}, endpoint) == "b"
    with pytest.raises(UsageError, match="--signature: a, b"):
        choose_server_signature(None, {"a": X, "b": X}, endpoint)
    with pytest.raises(NotFound, match="did you mean score"):
        choose_server_signature("scor", {"score": X}, endpoint)
