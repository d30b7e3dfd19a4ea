"""HTTP as odd clients speak it, and as no client should: each is answered rightly or refused; the server goes on."""

from __future__ import annotations

import contextlib
import json
import re
import socket

import numpy as np
import pytest

import tfopt
from tests.serve.asking import BODY, PREDICT, connect, predicts
from tests.serve.conftest import ask_at
from tfopt.errors import Code, RequestError
from tfopt.serve.rest import json_text

LENGTH = b"Content-Length: %d\r\n" % len(BODY)
POST = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def exchange(server: tfopt.Server, sent: bytes) -> tuple[list[int], bytes]:
    """The statuses of all answers until the server closes, which it is asked for behind what is sent, and all that
    came before the answer to that."""
    received = b""
    with connect(server) as client, contextlib.suppress(ConnectionResetError):
        client.sendall(sent + LAST)
        while part := client.recv(100_000):
            received += part
    answers = re.split(rb"(?=HTTP/1\.1 \d)", received)[1:]
    if answers and answers[-1].endswith(b'{"status": "ok"}') and b"connection: close" in answers[-1]:
        answers.pop()
    return [int(answer[9:12]) for answer in answers], b"".join(answers)


@pytest.mark.parametrize(
    "sent",
    [
        POST + LENGTH + b"\r\n" + BODY,
        b"POST /v1/models/m:predict HTTP/1.0\r\n" + LENGTH + b"\r\n" + BODY,
        b"POST http://elsewhere:1/v1/models/m:predict HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n" + BODY,
        POST + CHUNKED + b"%x;name=value\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(BODY), BODY),
        POST + CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
        b"\r\n\r\n" + POST + LENGTH + b"\r\n" + BODY,
        POST + LENGTH + b"X-Latin: \xff\xfe\r\n\r\n" + BODY,
        POST + LENGTH + b"".join(b"X-%d: 1\r\n" % number for number in range(3000)) + b"\r\n" + BODY,
        # Java's client asks for HTTP/2 with every request, and goes on with 1.1 where it is not given.
        POST + LENGTH + UPGRADE + b"\r\n" + BODY,
    ],
    ids=["1.1", "1.0", "absolute", "chunk extension", "bytes as chunks", "blank lines", "latin-1", "3000 headers",
         "h2c"],
)  # fmt: skip
def test_odd_requests_are_answered(own_server: tfopt.Server, sent: bytes) -> None:
    statuses, received = exchange(own_server, sent)
    assert statuses == [200], received
    assert received.endswith(b'{\n    "predictions": [8.0]\n}')


def test_the_client_is_told_to_go_on(own_server: tfopt.Server) -> None:
    with connect(own_server) as client:
        client.sendall(POST + LENGTH + b"Expect: 100-continue\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    statuses, _ = exchange(own_server, POST + b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
    assert statuses == [413], "who sends too much is not told to go on"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        ((POST + LENGTH + b"\r\n" + BODY) * 3, [200, 200, 200]),
        ((POST + LENGTH + b"\r\n" + BODY) + POST + LENGTH + b"\r\n{", [200]),
        (POST + LENGTH + b"\r\n{", []),
        (b"", []),
    ],
    ids=["three", "one and a half", "half", "none"],
)
def test_a_client_that_says_no_more_gets_its_answers(
    own_server: tfopt.Server, sent: bytes, statuses: list[int]
) -> None:
    with connect(own_server) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(100_000):
                received += part
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", received)] == statuses


def test_upgrades_in_a_row_and_in_pieces(own_server: tfopt.Server) -> None:
    request = POST + LENGTH + UPGRADE + b"\r\n" + BODY
    websocket = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    statuses, _ = exchange(own_server, (request + websocket) * 20)
    assert statuses == [200] * 40
    with connect(own_server) as client:
        for byte in request:
            client.sendall(bytes([byte]))
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        POST + LENGTH + LENGTH + b"\r\n" + BODY,
        POST + LENGTH + b"Content-Length: 3\r\n\r\n" + BODY,
        POST + LENGTH + CHUNKED + b"0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: +5\r\n\r\nabcde",
        POST + b"Content-Length: 0x10\r\n\r\n",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + CHUNKED + b"zz\r\n",
        POST + CHUNKED + b"FFFFFFFFFFFFFFFFFF\r\n",
        POST + b"X: a\0b\r\n\r\n",
        POST + b"no header\r\n\r\n",
        POST + b"X : 1\r\n\r\n",
        POST + b"X: 1\r\n folded\r\n\r\n",
        b"GET /v1/models/m\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n",
        b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: x\n\n",
    ],
)
def test_what_is_no_request_is_refused_and_cut_off(own_server: tfopt.Server, sent: bytes) -> None:
    statuses, received = exchange(own_server, sent)
    assert statuses == [400] and b"connection: close" in received
    assert predicts(own_server) == 8


@pytest.mark.parametrize(
    ("target", "status", "part"),
    [
        ("/v1/models/m%00", 404, "of model m\0"), ("/v1/models/m%zz", 404, "of model m%zz"),
        ("/v1/models/%ff%fe", 404, "of model \ufffd\ufffd"), ("/v1/models/" + "a" * 50_000, 404, "aaaa"),
        ("/v1/models/m:predict", 400, "Malformed request"), ("/../v1/models/m", 404, "Not found"),
        ("//v1/models/m", 404, "Not found"), ("/v1/models/..%2F..%2Fetc", 404, "of model ../../etc"),
    ],
)  # fmt: skip
def test_odd_targets(own_server: tfopt.Server, target: str, status: int, part: str) -> None:
    statuses, received = exchange(own_server, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert statuses == [status]
    assert part in json.loads(received.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize("size", [30_000, 100_000])
def test_a_flood_of_headers_is_cut_off(own_server: tfopt.Server, size: int) -> None:
    statuses, _ = exchange(own_server, POST + b"".join(b"X-%d: 1\r\n" % number for number in range(size)))
    assert statuses == []
    assert predicts(own_server) == 8


def test_a_body_where_none_belongs_is_passed_over(own_server: tfopt.Server) -> None:
    sent = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"
    assert exchange(own_server, sent * 3)[0] == [200] * 3


def test_bodies_that_are_never_sent_whole_do_not_fill_the_memory(own_server: tfopt.Server) -> None:
    """The server holds four bodies of the largest size; who comes with more is sent away, and room is made again."""
    waiting = []
    for _ in range(4):
        client = connect(own_server)
        client.sendall(POST + b"Content-Length: 100000\r\n\r\n" + b" " * 99_999)
        waiting.append(client)
    refused = ask_at(own_server.url, "POST", PREDICT, b" " * 100_000)
    assert (refused.status, refused.error) == (503, "The server holds too many large requests")
    for client in waiting:
        client.sendall(b" ")
        assert client.recv(1000).startswith(b"HTTP/1.1 400")
        client.close()
    assert ask_at(own_server.url, "POST", PREDICT, b" " * 100_000).status == 400
    assert predicts(own_server) == 8


@pytest.mark.parametrize("bomb", [b"[],", b"{},", b'"ab",', b"[[0]],"])
def test_a_json_bomb_is_refused_before_it_is_read(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MEMORY_LIMIT", 10 * 2**20)
    body = b'{"instances": [' + bomb * (2**20 // len(bomb)) + b"0]}"
    with pytest.raises(RequestError, match="too many values; send fewer examples at once") as caught:
        json_text.parse(body)
    assert caught.value.status is Code.RESOURCE_EXHAUSTED
    monkeypatch.undo()
    assert len(json_text.parse(body)["instances"]) > 10_000


def test_a_million_of_anything_is_no_trouble(own_base: object, server: tfopt.Server) -> None:
    for body in (
        {"instances": "[" * 1_000_000},
        {"instances": [10**18] * 100_000},
        {"inputs": np.zeros((1, 1, 1, 1, 1, 1)).tolist()},
    ):
        reply = ask_at(server.url, "POST", "/v1/models/linear:predict", body)
        assert reply.status == 400 and reply.error
    for nested in (b"[" * 100_000 + b"]" * 100_000, b'{"x":' * 50_000 + b"1" + b"}" * 50_000):
        for key in (b"instances", b"inputs", b"signature_name"):
            reply = ask_at(server.url, "POST", "/v1/models/linear:predict", b'{"%s": %s}' % (key, nested))
            assert reply.status == 400 and reply.error and "Internal" not in reply.error
    assert ask_at(server.url, "GET", "/healthz").status == 200
