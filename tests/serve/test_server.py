"""The server as a whole: clients that misbehave, versions that change under load, starts and stops."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import tfopt
from tests import models as saved_models
from tests.serve import models as own_models
from tests.serve.conftest import ask_at
from tfopt.errors import InvalidModel, NotFound, ServerUnavailable
from tfopt.store import Manifest, Store, write_manifest

ROW = [[1.0, 2.0, 5.0]]
PREDICT = "/v1/models/m:predict"
BODY = json.dumps({"instances": ROW}).encode()


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """.tflite files of `y = sum(x) * n` for n = 0, 1, 2, ...: the answer tells which version gave it."""
    import tensorflow as tf

    def convert(factor: float) -> bytes:
        module = tf.Module()

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
        def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.reduce_sum(x, axis=1) * factor}

        directory = tmp_path_factory.mktemp("scaled") / str(factor)
        saved_models.save(module, directory, serving_default=serve)
        content: bytes = tf.lite.TFLiteConverter.from_saved_model(str(directory)).convert()
        return content

    return [convert(float(factor)) for factor in range(4)]


Publish = Callable[[int], int]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


@pytest.fixture
def publish(base: Path, scaled: list[bytes]) -> Publish:
    """`publish(n)` puts a version that multiplies by n in place, and gives its number."""

    def put(factor: int) -> int:
        store = Store(base)
        with store.stage() as staged:
            (staged / "model.tflite").write_bytes(scaled[factor])
            write_manifest(staged, Manifest({"signatures": SIGNATURES, "artifacts": {"tflite": {}}}))
            return store.commit(staged)

    return put


def _tensor(name: str, shape: list[int | None]) -> dict[str, object]:
    return {"name": f"{name}:0", "dtype": "float32", "shape": shape}


SIGNATURES = {
    "serving_default": {
        "inputs": {"x": _tensor("x", [None, 3])},
        "outputs": {"y": _tensor("y", [None])},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
}


@pytest.fixture
def server(base: Path, publish: Publish) -> Iterator[tfopt.Server]:
    publish(1)
    with tfopt.Server(base, port=0, poll_interval=0.05, io_timeout=1.0, body_limit=100_000) as running:
        yield running


def connect(server: tfopt.Server) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.01)


def predicts(server: tfopt.Server) -> float:
    reply = ask_at(server.url, "POST", PREDICT, BODY)
    assert reply.status == 200, reply
    return float(reply.json["predictions"][0])


# -- clients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/models/m:predict HT",
        b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
    ids=["nothing", "half a line", "half a header", "half a body", "half a chunk"],
)
def test_a_request_that_does_not_arrive_is_cut_off(server: tfopt.Server, sent: bytes) -> None:
    with connect(server) as slow:
        start = time.monotonic()
        slow.sendall(sent)
        assert predicts(server) == 8, "others are served meanwhile"
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1000) == b""
        assert 0.9 < time.monotonic() - start < 5


def test_a_trickle_does_not_keep_a_request_alive(server: tfopt.Server) -> None:
    with connect(server) as slow:
        slow.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\n")
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - start < 10:
                slow.sendall(b"X-Slow: 1\r\n")
                time.sleep(0.1)
        assert time.monotonic() - start < 5


def test_a_head_without_end_is_cut_off(server: tfopt.Server) -> None:
    with connect(server) as endless:
        endless.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nX-Endless: ")
        with pytest.raises(ConnectionError):
            for _ in range(100):
                endless.sendall(b"x" * 10_000)
                time.sleep(0.001)
    assert predicts(server) == 8


def test_an_answer_that_nobody_reads_is_cut_off(base: Path, publish: Publish) -> None:
    publish(1)
    # The answer is larger than what the kernel takes off the server's hands (4 MB).
    rows = json.dumps({"instances": [[0.1234567, 0.2, 0.3]] * 500_000}).encode()
    with tfopt.Server(base, port=0, io_timeout=1.0) as server, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        parts = urlsplit(server.url)
        deaf.connect((parts.hostname, parts.port))
        deaf.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(rows), rows))
        head = deaf.recv(300)
        announced = int(re.findall(rb"content-length: (\d+)", head)[0])
        assert head.startswith(b"HTTP/1.1 200") and announced > 4.5e6
        time.sleep(3)
        received = len(head)
        with contextlib.suppress(ConnectionResetError):
            while part := deaf.recv(100_000):
                received += len(part)
        assert received < announced, "the server was still there"


def test_an_idle_connection_is_no_slow_one(server: tfopt.Server) -> None:
    request = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    with connect(server) as kept:
        for pause in (0, 2.5):
            time.sleep(pause)
            kept.sendall(request)
            assert kept.recv(1000).startswith(b"HTTP/1.1 200")


def test_requests_in_one_packet_are_answered_in_order(server: tfopt.Server) -> None:
    request = b"POST /v1/models/%s:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    with connect(server) as pipe:
        pipe.sendall(b"".join(request % (name, len(BODY), BODY) for name in (b"m", b"nobody", b"m")))
        received = b""
        while received.count(b"HTTP/1.1") < 3 and (part := pipe.recv(10_000)):
            received += part
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404", b"200"]


@pytest.mark.parametrize("sent", [b"{", BODY], ids=["during the body", "before the answer"])
def test_a_client_that_leaves_harms_nobody(server: tfopt.Server, sent: bytes) -> None:
    for _ in range(50):
        with connect(server) as leaver:
            leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
            leaver.sendall(
                b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), sent)
            )
    assert predicts(server) == 8


def test_a_huge_body_is_refused_at_its_announcement(server: tfopt.Server) -> None:
    with connect(server) as client:
        client.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        start = time.monotonic()
        reply = client.recv(1000)
        assert time.monotonic() - start < 1
        assert reply.startswith(b"HTTP/1.1 413") and b"connection: close" in reply and b"100000 bytes" in reply


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_who_sends_a_huge_body_all_the_same_gets_to_read_the_refusal(server: tfopt.Server, chunked: bool) -> None:
    part = b" " * 65536
    before = resident(os.getpid())
    with connect(server) as client:
        how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1000000000"
        client.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n" + how + b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(15_000):
                client.sendall(b"10000\r\n" + part + b"\r\n" if chunked else part)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1000).startswith(b"HTTP/1.1 413")
    assert resident(os.getpid()) - before < 50e6, "the body was kept"
    assert predicts(server) == 8


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00\x01 TLS\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http(server: tfopt.Server, sent: bytes) -> None:
    with connect(server) as client:
        client.sendall(sent)
        assert client.recv(1000).startswith(b"HTTP/1.1 400")


def test_many_clients_at_once(server: tfopt.Server) -> None:
    answers: list[float] = []
    threads = [threading.Thread(target=lambda: answers.append(predicts(server))) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [8.0] * 64


def test_cors_when_asked_for(base: Path, publish: Publish) -> None:
    publish(1)
    with tfopt.Server(base, port=0, cors=True) as server:
        for reply in (ask_at(server.url, "POST", PREDICT, BODY), ask_at(server.url, "GET", "/v1/models/nobody")):
            assert reply.headers["access-control-allow-origin"] == "*"
            assert reply.headers["access-control-allow-methods"] == "POST, GET"
            assert reply.headers["access-control-allow-headers"] == "Content-Type"


# -- versions -----------------------------------------------------------------------------------------------------


def test_no_request_is_lost_while_versions_change(server: tfopt.Server, base: Path, publish: Publish) -> None:
    stop = threading.Event()
    answers: list[float] = []
    failures: list[BaseException] = []

    def hammer() -> None:
        with tfopt.Client(server.url) as client:
            while not stop.is_set():
                try:
                    answers.append(float(client.predict("m", ROW)[0]))
                except tfopt.errors.TfoptError as error:
                    failures.append(error)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    store = Store(base)
    for factor in (2, 3, 2, 3):
        publish(factor)
        eventually(lambda factor=factor: predicts(server) == 8 * factor)
        store.rollback()
        eventually(lambda factor=factor: predicts(server) != 8 * factor)
        store.promote(max(entry.number for entry in store.versions()))
        eventually(lambda factor=factor: predicts(server) == 8 * factor)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answers) == {8.0, 16.0, 24.0} and len(answers) > 100


def test_a_broken_version_is_told_of_and_the_old_one_serves_on(
    server: tfopt.Server, base: Path, publish: Publish
) -> None:
    number = publish(2)
    damaged = base / ".damaged"
    shutil.copytree(base / str(number), damaged)
    with (damaged / "model.tflite").open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    damaged.rename(base / "50")
    eventually(lambda: ask_at(server.url, "GET", "/v1/models/m/versions/50").status == 200)
    eventually(lambda: version_state(server, 50)["state"] == "END")
    status = version_state(server, 50)["status"]
    assert status["error_code"] == "DATA_LOSS" and "sha256" in status["error_message"]
    assert predicts(server) == 16
    assert ask_at(server.url, "GET", "/readyz").status == 200


def version_state(server: tfopt.Server, number: int) -> dict[str, Any]:
    found: dict[str, Any] = ask_at(server.url, "GET", f"/v1/models/m/versions/{number}").json["model_version_status"][0]
    return found


def test_labels_over_the_wire(server: tfopt.Server, base: Path, publish: Publish) -> None:
    publish(2)
    Store(base).label("old", 1)
    path = "/v1/models/m/labels/old:predict"
    eventually(lambda: ask_at(server.url, "POST", path, BODY).status == 200)
    assert ask_at(server.url, "POST", path, BODY).json["predictions"] == [8.0]
    eventually(lambda: predicts(server) == 16)


# -- starts and stops ---------------------------------------------------------------------------------------------


def test_a_taken_port(server: tfopt.Server, base: Path) -> None:
    port = urlsplit(server.url).port
    with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port}: cannot listen: Address already in use"):
        tfopt.Server(base, port=port or 0).start()


def test_one_broken_model_among_good_ones(base: Path, publish: Publish, tmp_path: Path) -> None:
    publish(1)
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "model.tflite").write_bytes(b"no model at all")
    with tfopt.Server(tmp_path, port=0) as server:
        assert predicts(server) == 8
        assert ask_at(server.url, "GET", "/healthz").status == 200
        ready = ask_at(server.url, "GET", "/readyz")
        assert ready.status == 503
        problems = {model["name"]: model["problem"] for model in ready.json["models"]}
        assert problems["m"] is None and "LiteRT cannot load the file" in problems["bad"]
        refused = ask_at(server.url, "POST", "/v1/models/bad:predict", BODY)
        assert (refused.status, refused.error) == (404, "Servable not found for request: Latest(bad)")


def test_no_model_that_loads_is_no_server(base: Path, tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(NotFound, match="there is no version to serve"):
        tfopt.Server(f"m={base}", port=port).start()
    (base / "1").mkdir()
    (base / "1" / "model.tflite").write_bytes(b"no model at all")
    with pytest.raises(InvalidModel, match="LiteRT cannot load the file"):
        tfopt.Server(base, port=port).start()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def test_a_server_leaves_nothing_behind(base: Path, publish: Publish) -> None:
    publish(1)
    port = free_port()
    before = set(threading.enumerate())
    for _ in range(2):
        with tfopt.Server(base, port=port) as server:
            assert predicts(server) == 8
    eventually(lambda: set(threading.enumerate()) <= before)


def test_ipv6(base: Path, publish: Publish) -> None:
    publish(1)
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with tfopt.Server(base, host="::1", port=0) as server:
        assert server.url.startswith("http://[::1]:")
        np.testing.assert_allclose(tfopt.Client(server.url).predict("m", ROW), [8])


# -- a process of its own -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`tfopt serve ...` and the URL that it prints."""
    command = [sys.executable, "-m", "tfopt", "serve", *map(str, arguments), "--port", "0", "--json"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        yield process, str(json.loads(_line(process.stdout))["url"])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def test_serving_a_tflite_imports_no_tensorflow(base: Path, publish: Publish) -> None:
    publish(1)
    with serving(base) as (process, url):
        assert ask_at(url, "POST", PREDICT, BODY).json == {"predictions": [8.0]}
        assert ask_at(url, "GET", "/v1/models/m/metadata").status == 200
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
        assert "litert" in mapped, "this test can see what is loaded"
        assert "/tensorflow/" not in mapped
        assert resident(process.pid) < 200e6


def test_sigterm_lets_requests_end(tmp_path: Path, built: Callable[..., Path]) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1").symlink_to(built(own_models.counter))
    with serving(tmp_path / "m") as (process, url):
        took, count = 0.0, 1000.0
        while took < 0.6:  # seconds; found out here, as machines differ
            count *= 2
            start = time.monotonic()
            assert ask_at(url, "POST", PREDICT, {"inputs": count}).status == 200
            took = time.monotonic() - start
        replies: list[int] = []
        request = threading.Thread(
            target=lambda: replies.append(ask_at(url, "POST", PREDICT, {"inputs": 3 * count}).status)
        )
        request.start()
        time.sleep(took / 2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            ask_at(url, "GET", "/healthz")
        assert not replies, "the request was still under way"
        request.join(60)
        assert replies == [200]
        assert process.wait(20) == 0


def test_ctrl_c_is_a_way_to_stop(base: Path, publish: Publish) -> None:
    publish(1)
    with serving(base) as (process, _):
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 0 and "Traceback" not in told and "version 1 unloaded" in told
