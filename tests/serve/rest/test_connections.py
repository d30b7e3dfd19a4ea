"""Clients that misbehave: too slow, too large, gone, or speaking something else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import tfopt
from tests.serve.asking import BODY, PREDICT, connect, predicts, resident
from tests.serve.conftest import Publish, ask_at
from tfopt.serve.settings.options import RestOptions


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
def test_a_request_that_does_not_arrive_is_cut_off(own_server: tfopt.Server, sent: bytes) -> None:
    with connect(own_server) as slow:
        start = time.monotonic()
        slow.sendall(sent)
        assert predicts(own_server) == 8, "others are served meanwhile"
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1000) == b""
        assert 0.9 < time.monotonic() - start < 5


def test_a_trickle_does_not_keep_a_request_alive(own_server: tfopt.Server) -> None:
    with connect(own_server) as slow:
        slow.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\n")
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - start < 10:
                slow.sendall(b"X-Slow: 1\r\n")
                time.sleep(0.1)
        assert time.monotonic() - start < 5


def test_a_head_without_end_is_cut_off(own_server: tfopt.Server) -> None:
    with connect(own_server) as endless:
        endless.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nX-Endless: ")
        with pytest.raises(ConnectionError):
            for _ in range(100):
                endless.sendall(b"x" * 10_000)
                time.sleep(0.001)
    assert predicts(own_server) == 8


def test_an_answer_that_nobody_reads_is_cut_off(own_base: Path, publish: Publish) -> None:
    publish(1)
    # The answer is larger than what the kernel takes off the server's hands (4 MB).
    rows = json.dumps({"instances": [[0.1234567, 0.2, 0.3]] * 500_000}).encode()
    with tfopt.Server(own_base, port=0, rest=RestOptions(io_timeout=1.0)) as own_server, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        parts = urlsplit(own_server.url)
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


def test_an_idle_connection_is_no_slow_one(own_server: tfopt.Server) -> None:
    request = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    with connect(own_server) as kept:
        for pause in (0, 2.5):
            time.sleep(pause)
            kept.sendall(request)
            assert kept.recv(1000).startswith(b"HTTP/1.1 200")


def test_requests_in_one_packet_are_answered_in_order(own_server: tfopt.Server) -> None:
    request = b"POST /v1/models/%s:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    with connect(own_server) as pipe:
        pipe.sendall(b"".join(request % (name, len(BODY), BODY) for name in (b"m", b"nobody", b"m")))
        received = b""
        while received.count(b"HTTP/1.1") < 3 and (part := pipe.recv(10_000)):
            received += part
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404", b"200"]


@pytest.mark.parametrize("sent", [b"{", BODY], ids=["during the body", "before the answer"])
def test_a_client_that_leaves_harms_nobody(own_server: tfopt.Server, sent: bytes) -> None:
    for _ in range(50):
        with connect(own_server) as leaver:
            leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
            leaver.sendall(
                b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), sent)
            )
    assert predicts(own_server) == 8


def test_a_huge_body_is_refused_at_its_announcement(own_server: tfopt.Server) -> None:
    with connect(own_server) as client:
        client.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        start = time.monotonic()
        reply = client.recv(1000)
        assert time.monotonic() - start < 1
        assert reply.startswith(b"HTTP/1.1 413") and b"connection: close" in reply and b"100000 bytes" in reply


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_who_sends_a_huge_body_all_the_same_gets_to_read_the_refusal(own_server: tfopt.Server, chunked: bool) -> None:
    part = b" " * 65536
    before = resident(os.getpid())
    with connect(own_server) as client:
        how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1000000000"
        client.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n" + how + b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(15_000):
                client.sendall(b"10000\r\n" + part + b"\r\n" if chunked else part)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1000).startswith(b"HTTP/1.1 413")
    assert resident(os.getpid()) - before < 50e6, "the body was kept"
    assert predicts(own_server) == 8


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00\x01 TLS\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http(own_server: tfopt.Server, sent: bytes) -> None:
    with connect(own_server) as client:
        client.sendall(sent)
        assert client.recv(1000).startswith(b"HTTP/1.1 400")


def test_many_clients_at_once(own_server: tfopt.Server) -> None:
    answers: list[float] = []
    threads = [threading.Thread(target=lambda: answers.append(predicts(own_server))) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [8.0] * 64


def test_cors_when_asked_for(own_base: Path, publish: Publish) -> None:
    publish(1)
    with tfopt.Server(own_base, port=0, rest=RestOptions(cors=True)) as own_server:
        for reply in (
            ask_at(own_server.url, "POST", PREDICT, BODY),
            ask_at(own_server.url, "GET", "/v1/models/nobody"),
            ask_at(own_server.url, "GET", "/nothing"),
            ask_at(own_server.url, "DELETE", "/v2"),
            ask_at(own_server.url, "OPTIONS", PREDICT, None, {"Origin": "http://page"}),
            ask_at(own_server.url, "OPTIONS", "/v2/models/m/infer"),
            ask_at(own_server.url, "POST", f"/v1/models/m/versions/{2**64}:predict", BODY),
            ask_at(own_server.url, "POST", PREDICT, b" " * 2000),
        ):
            assert reply.headers["access-control-allow-origin"] == "*"
            assert reply.headers["access-control-allow-methods"] == "POST, GET"
            assert reply.headers["access-control-allow-headers"] == "Content-Type"
