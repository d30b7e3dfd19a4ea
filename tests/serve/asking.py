"""Ask a server that multiplies by its version's number, and wait for it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import tfopt
from tests.serve.conftest import ask_at

ROW = [[1.0, 2.0, 5.0]]
PREDICT = "/v1/models/m:predict"
BODY = json.dumps({"instances": ROW}).encode()


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


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
