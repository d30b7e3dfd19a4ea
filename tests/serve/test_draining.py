"""How a server ends: what it still does, what it says of itself, and that it does end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tfopt
from tests.serve.asking import BODY, PREDICT, eventually
from tests.serve.conftest import Publish, ask_at
from tfopt.serve.versions.servable import Servable


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """What every run of a model waits for."""
    opened = threading.Event()
    run = Servable.run

    def wait(self: Servable, *arguments: Any, **named: Any) -> Any:
        assert opened.wait(20)
        return run(self, *arguments, **named)

    monkeypatch.setattr(Servable, "run", wait)
    return opened


def test_requests_under_way_end_and_new_ones_go_elsewhere(
    own_server: tfopt.Server, gate: threading.Event, publish: Publish
) -> None:
    replies: list[int] = []
    url = own_server.url
    request = threading.Thread(target=lambda: replies.append(ask_at(url, "POST", PREDICT, BODY).status))
    request.start()
    eventually(lambda: own_server.plane.models["m"].snapshot.servables[1].users)
    stopping = threading.Thread(target=own_server.stop)
    stopping.start()
    eventually(lambda: own_server.plane.draining)
    assert ask_at(url, "GET", "/healthz").status == 200, "it lives"
    assert ask_at(url, "GET", "/readyz").status == 503, "and wants no more"
    refused = ask_at(url, "POST", PREDICT, BODY)
    assert (refused.status, refused.error) == (503, "The server is shutting down")
    assert ask_at(url, "GET", "/v1/models/m").status == 200
    assert not replies and stopping.is_alive()
    gate.set()
    request.join(20)
    assert replies == [200]
    stopping.join(20)
    assert not stopping.is_alive()
    with pytest.raises(ConnectionRefusedError):
        ask_at(url, "GET", "/healthz")


def run(code: str) -> tuple[int, float]:
    """Exit code, and seconds."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    return done.returncode, time.monotonic() - start


SIGNALS = """
import os, signal, threading
from tfopt.serve.process import Stopped, StopSignals
def send(number): os.kill(os.getpid(), number)
"""


def test_the_first_signal_ends_the_wait() -> None:
    code = "with StopSignals() as signals:\n  signals.serving = True\n  send(signal.SIGTERM)\n  signals.wait()"
    assert run(SIGNALS + code)[0] == 0


@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_the_second_signal_ends_the_process(number: str, status: int) -> None:
    code = f"""
threading.Thread(target=threading.Event().wait).start()
with StopSignals() as signals:
  signals.serving = True
  send(signal.SIGTERM)
  send(signal.{number})
  signals.wait()
"""
    assert run(SIGNALS + code)[0] == status


def test_a_signal_before_it_serves_stops_the_start() -> None:
    code = """
try:
  with StopSignals():
    send(signal.SIGTERM)
    threading.Event().wait()
except Stopped:
  os._exit(7)
"""
    assert run(SIGNALS + code)[0] == 7


def test_a_thread_that_hangs_does_not_hold_up_the_end() -> None:
    code = """
import threading
from tfopt.serve.process import end_process_after
end_process_after(0.3)
threading.Thread(target=threading.Event().wait).start()
"""
    status, seconds = run(code)
    assert status == 0 and seconds < 10


def test_requests_are_still_taken_while_balancers_turn_away(own_base: Path, publish: Publish) -> None:
    publish(1)
    command = [sys.executable, "-m", "tfopt", "serve", str(own_base), "--port", "0", "--json", "--drain-delay", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        process.send_signal(signal.SIGTERM)
        eventually(lambda: ask_at(url, "GET", "/readyz").status == 503)
        assert ask_at(url, "POST", PREDICT, BODY).status == 200
        assert process.wait(20) == 0
