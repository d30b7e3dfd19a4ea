"""The client library, against our server and against servers that answer strangely."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

import tfopt
from tests.models import weights
from tests.serve.conftest import base, lite, server  # noqa: F401 - fixtures
from tests.serve.models import DTYPES
from tfopt.client import Client
from tfopt.errors import Code, RequestError, ServerUnavailable, UsageError
from tfopt.serve.settings.options import RestOptions


@pytest.fixture
def client(server: tfopt.Server) -> Iterator[Client]:  # noqa: F811
    with Client(server.url) as made:
        yield made


def test_one_input_and_one_output_need_no_names(client: Client) -> None:
    x = weights(5, 3, seed=3)
    wanted = x @ weights(3, 2) + weights(2, seed=1)
    for inputs in (x, x.tolist(), x.astype(np.float64), {"x": x}):
        y = client.predict("linear", inputs)
        assert isinstance(y, np.ndarray) and y.dtype == np.float32
        np.testing.assert_allclose(y, wanted, rtol=1e-5)
    named = client.outputs("linear", x)
    assert list(named) == ["y"] and named["y"].shape == (5, 2)


def test_versions_labels_and_signatures(client: Client) -> None:
    x = [[1.0, 2.0, 5.0]]
    latest = client.predict("linear", x)
    np.testing.assert_array_equal(client.predict("linear", x, version=123), latest)
    np.testing.assert_array_equal(client.predict("linear", x, label="stable"), latest)
    score = client.predict("two", np.ones((2, 5)), signature="score")
    assert isinstance(score, np.ndarray) and score.shape == (2, 1)
    with pytest.raises(UsageError, match="version and a label"):
        client.predict("linear", x, version=1, label="stable")


def test_several_outputs_come_by_name(client: Client) -> None:
    answer = client.predict("two", {"x": np.ones((2, 5)), "scale": np.float32(2)})
    assert isinstance(answer, dict)
    assert {name: array.shape for name, array in answer.items()} == {"embedding": (2, 4), "score": (2, 1)}


@pytest.mark.parametrize("name", [name for name in DTYPES if name != "half"])
def test_every_dtype_there_and_back(client: Client, name: str) -> None:
    dtype = np.dtype(name)
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    if dtype.kind == "f":
        values[0] = np.nan, -np.inf
    elif dtype.kind in "iu":
        values[0] = np.iinfo(dtype).min, np.iinfo(dtype).max
    answer = client.predict("echo", values, signature=name)
    assert isinstance(answer, np.ndarray) and answer.dtype == dtype
    np.testing.assert_array_equal(answer, values)


def test_float32_is_exact(client: Client) -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(client.predict("echo", values), values)


def test_shapes_of_nothing_and_of_no_dimension(client: Client) -> None:
    empty = client.predict("echo", np.zeros((2, 0), np.float32))
    assert isinstance(empty, np.ndarray) and empty.shape == (2, 0) and empty.dtype == np.float32
    scalar = client.predict("echo", 3)
    assert isinstance(scalar, np.ndarray) and scalar.shape == () and scalar == 3


@pytest.mark.parametrize(
    "words",
    [
        ["a", "é"], [b"a", "é".encode()], np.array(["a", "é"]), np.array([b"a", "é".encode()], object),
        np.array(["a", "é"], object),
    ],
)  # fmt: skip
def test_strings_come_back_as_bytes(client: Client, words: Any) -> None:
    answer = client.outputs("echo", words, signature="text")
    assert all(array.dtype == object and array.tolist() == [b"a", "é".encode()] for array in answer.values())


def test_bytes_that_are_no_text(client: Client) -> None:
    raw = bytes(range(256)) + b"\0\0"
    for array in client.outputs("echo", [raw], signature="text").values():
        assert array.tolist() == [raw]


def test_what_json_cannot_carry(client: Client) -> None:
    for value in (np.ones(2, np.complex64), np.array([object()]), np.array(["2020-01-01"], "datetime64[D]")):
        with pytest.raises(UsageError):
            client.predict("echo", value)


def test_status_and_metadata(client: Client) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    assert client.status("linear") == [{"version": "123", "state": "AVAILABLE", "status": ok}]
    assert client.status("linear", 123) == client.status("linear")
    assert client.metadata("lite")["model_spec"] == {"name": "lite", "signature_name": "", "version": "5"}
    assert client.metadata("linear", label="stable")["model_spec"]["version"] == "123"


def test_refusals_carry_the_servers_words_and_code(client: Client) -> None:
    with pytest.raises(RequestError, match=r"^Servable not found for request: Latest\(nobody\)$") as caught:
        client.predict("nobody", [1.0])
    assert caught.value.status is Code.NOT_FOUND
    with pytest.raises(RequestError, match="the model takes float32") as caught:
        client.predict("linear", [[1.0]])
    assert caught.value.status is Code.INVALID_ARGUMENT
    with pytest.raises(RequestError, match="to type: half") as caught:
        client.predict("echo", [1.0], signature="half")
    assert caught.value.status is Code.UNIMPLEMENTED


def test_names_are_escaped(client: Client) -> None:
    with pytest.raises(RequestError, match=r"Latest\(a/b:c d\)"):
        client.predict("a/b:c d", [1.0])


def test_many_threads_share_a_client(client: Client) -> None:
    failures: list[Exception] = []

    def work(seed: int) -> None:
        values = weights(4, seed=seed)
        for _ in range(20):
            if not np.array_equal(client.predict("echo", values), values):
                failures.append(AssertionError(seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(client._connections._idle) <= 8


# -- servers that are not there, or are strange -------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "", "http://host:99999"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="is no server's address"):
        Client(url)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ServerUnavailable, match=f"localhost:{port}: no server answers: Connection refused"):
        Client(f"localhost:{port}").predict("m", [1.0])


def test_a_server_that_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        with pytest.raises(ServerUnavailable, match=r"no answer within 0\.2 s"):
            client.status("m")


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def stranger(answer: Answer) -> Iterator[Client]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            answer(self)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        try:
            with Client(f"http://127.0.0.1:{httpd.server_port}/prefix/", timeout=5) as client:
                yield client
        finally:
            httpd.shutdown()
            thread.join()


def reply(request: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def test_an_answer_that_is_no_json() -> None:
    html = stranger(lambda request: reply(request, b"<h1>Bad Gateway</h1>", 502))
    with html as client, pytest.raises(RequestError, match="<h1>Bad Gateway</h1>"):
        client.status("m")
    empty = stranger(lambda request: reply(request, b"", 400))
    with empty as client, pytest.raises(RequestError, match="HTTP status 400 without a word"):
        client.status("m")


def test_a_path_in_the_url_precedes_every_path() -> None:
    seen: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.path)
        reply(request, b'{"model_version_status": []}')

    with stranger(answer) as client:
        client.status("m")
    assert seen == ["/prefix/v1/models/m"]


def test_a_connection_that_was_closed_while_idle_is_made_anew() -> None:
    seen: list[int] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.client_address[1])
        reply(request, b'{"model_version_status": []}')
        request.close_connection = True  # without telling

    with stranger(answer) as client:
        for _ in range(3):
            client.status("m")
            time.sleep(0.05)
    assert len(set(seen)) == 3


def test_new_outputs_of_a_new_version_are_noticed() -> None:
    """Metadata is asked for once, and again when an answer does not fit it."""
    outputs: dict[str, tuple[str, Any]] = {"y": ("DT_FLOAT", [1.0])}
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.command)
        if request.command == "GET":
            infos = {name: {"dtype": dtype} for name, (dtype, _) in outputs.items()}
            signatures = {"signature_def": {"serving_default": {"outputs": infos}}}
            reply(request, json.dumps({"metadata": {"signature_def": signatures}}).encode())
            return
        values = {name: value for name, (_, value) in outputs.items()}
        reply(request, json.dumps({"outputs": values if len(values) > 1 else values.popitem()[1]}).encode())

    def dtypes() -> dict[str, str]:
        return {name: array.dtype.name for name, array in client.outputs("m", [1.0]).items()}

    with stranger(answer) as client:
        assert dtypes() == dtypes() == {"y": "float32"}
        assert asked == ["POST", "GET", "POST"]
        outputs["y"] = ("DT_INT64", [1])
        assert dtypes() == {"y": "int64"}
        outputs["z"] = ("DT_STRING", ["a"])
        assert dtypes() == {"y": "int64", "z": "object"}
        del outputs["y"]
        assert dtypes() == {"z": "object"}
        outputs["z"] = ("DT_INT64", [0.5])
        with pytest.raises(RequestError, match="does not fit the model's metadata"):
            dtypes()


def test_a_body_that_is_refused_while_it_is_sent(base: Any) -> None:  # noqa: F811
    with tfopt.Server(base / "lite", port=0, rest=RestOptions(body_limit=1000)) as small, Client(small.url) as client:
        with pytest.raises(RequestError, match="larger than 1000 bytes") as caught:
            client.predict("lite", np.zeros((200_000, 3)))
        assert caught.value.status is Code.RESOURCE_EXHAUSTED
        assert client.predict("lite", np.zeros((1, 3))) is not None


def test_the_client_needs_numpy_only() -> None:
    code = "import sys, tfopt; tfopt.Client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded
    assert not {"tensorflow", "uvicorn", "orjson", "google", "typer", "rich", "yaml"} & set(loaded)
