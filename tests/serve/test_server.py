"""The server as a whole: versions that change under load, starts and stops, a process of its own."""

from __future__ import annotations

import contextlib
import json
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
from tests.serve import models as own_models
from tests.serve.asking import BODY, PREDICT, ROW, eventually, predicts, resident
from tests.serve.conftest import Publish, ask_at
from tfopt.errors import InvalidModel, NotFound, ServerUnavailable
from tfopt.store import Store

# -- versions ---------------------------------------------------------------------------------------------------------


def test_no_request_is_lost_while_versions_change(own_server: tfopt.Server, own_base: Path, publish: Publish) -> None:
    stop = threading.Event()
    answers: list[float] = []
    failures: list[BaseException] = []

    def hammer() -> None:
        with tfopt.Client(own_server.url) as client:
            while not stop.is_set():
                try:
                    answers.append(float(client.predict("m", ROW)[0]))
                except tfopt.errors.TfoptError as error:
                    failures.append(error)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    store = Store(own_base)
    for factor in (2, 3, 2, 3):
        publish(factor)
        eventually(lambda factor=factor: predicts(own_server) == 8 * factor)
        store.rollback()
        eventually(lambda factor=factor: predicts(own_server) != 8 * factor)
        store.promote(max(entry.number for entry in store.versions()))
        eventually(lambda factor=factor: predicts(own_server) == 8 * factor)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answers) == {8.0, 16.0, 24.0} and len(answers) > 100


def test_a_broken_version_is_told_of_and_the_old_one_serves_on(
    own_server: tfopt.Server, own_base: Path, publish: Publish
) -> None:
    number = publish(2)
    damaged = own_base / ".damaged"
    shutil.copytree(own_base / str(number), damaged)
    with (damaged / "model.tflite").open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    damaged.rename(own_base / "50")
    eventually(lambda: ask_at(own_server.url, "GET", "/v1/models/m/versions/50").status == 200)
    eventually(lambda: version_state(own_server, 50)["state"] == "END")
    status = version_state(own_server, 50)["status"]
    assert status["error_code"] == "DATA_LOSS" and "sha256" in status["error_message"]
    eventually(lambda: predicts(own_server) == 16)
    assert ask_at(own_server.url, "GET", "/readyz").status == 200


def version_state(server: tfopt.Server, number: int) -> dict[str, Any]:
    found: dict[str, Any] = ask_at(server.url, "GET", f"/v1/models/m/versions/{number}").json["model_version_status"][0]
    return found


def test_labels_over_the_wire(own_server: tfopt.Server, own_base: Path, publish: Publish) -> None:
    publish(2)
    Store(own_base).label("old", 1)
    path = "/v1/models/m/labels/old:predict"
    eventually(lambda: ask_at(own_server.url, "POST", path, BODY).status == 200)
    assert ask_at(own_server.url, "POST", path, BODY).json["predictions"] == [8.0]
    eventually(lambda: predicts(own_server) == 16)


# -- starts and stops -------------------------------------------------------------------------------------------------


def test_a_taken_port(own_server: tfopt.Server, own_base: Path) -> None:
    port = urlsplit(own_server.url).port
    with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port}: cannot listen: Address already in use"):
        tfopt.Server(own_base, port=port or 0).start()


def test_one_broken_model_among_good_ones(own_base: Path, publish: Publish, tmp_path: Path) -> None:
    publish(1)
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "model.tflite").write_bytes(b"no model at all")
    with tfopt.Server(tmp_path, port=0) as own_server:
        assert predicts(own_server) == 8
        assert ask_at(own_server.url, "GET", "/healthz").status == 200
        ready = ask_at(own_server.url, "GET", "/readyz")
        assert ready.status == 503
        problems = {model["name"]: model["problem"] for model in ready.json["models"]}
        assert problems["m"] is None and "LiteRT cannot load the file" in problems["bad"]
        refused = ask_at(own_server.url, "POST", "/v1/models/bad:predict", BODY)
        assert (refused.status, refused.error) == (404, "Servable not found for request: Latest(bad)")


def test_no_model_that_loads_is_no_server(own_base: Path, tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(NotFound, match="there is no version to serve"):
        tfopt.Server(f"m={own_base}", port=port).start()
    (own_base / "1").mkdir()
    (own_base / "1" / "model.tflite").write_bytes(b"no model at all")
    with pytest.raises(InvalidModel, match="LiteRT cannot load the file"):
        tfopt.Server(own_base, port=port).start()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def test_a_server_leaves_nothing_behind(own_base: Path, publish: Publish) -> None:
    publish(1)
    port = free_port()
    before = set(threading.enumerate())
    for _ in range(2):
        with tfopt.Server(own_base, port=port) as own_server:
            assert predicts(own_server) == 8
    eventually(lambda: set(threading.enumerate()) <= before)


def test_ipv6(own_base: Path, publish: Publish) -> None:
    publish(1)
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with tfopt.Server(own_base, host="::1", port=0) as own_server:
        assert own_server.url.startswith("http://[::1]:")
        np.testing.assert_allclose(tfopt.Client(own_server.url).predict("m", ROW), [8])


# -- a process of its own ---------------------------------------------------------------------------------------------


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


def test_serving_a_tflite_imports_no_tensorflow(own_base: Path, publish: Publish) -> None:
    publish(1)
    with serving(own_base) as (process, url):
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
        assert ask_at(url, "GET", "/healthz").status == 200
        assert ask_at(url, "GET", "/readyz").status == 503
        assert not replies, "the request was still under way"
        request.join(60)
        assert replies == [200]
        assert process.wait(20) == 0


def test_ctrl_c_is_a_way_to_stop(own_base: Path, publish: Publish) -> None:
    publish(1)
    with serving(own_base) as (process, _):
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 0 and "Traceback" not in told and "version 1 unloaded" in told
