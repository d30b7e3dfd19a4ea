"""The log: a record a line, whatever clients put into it."""

from __future__ import annotations

import json
import logging

import pytest

import tfopt
from tests.serve.asking import BODY, PREDICT
from tests.serve.conftest import ask_at
from tfopt.errors import Code
from tfopt.serve.logs import LogFormat, LogLevel, log_access, log_on_stderr

log = logging.getLogger("tfopt.serve")


def test_text_is_one_line_and_hides_control_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with log_on_stderr(access=False):
        log.info("a model called %s", "x\n2026-01-01 INFO all is well\x1b[31m")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("INFO a model called x\\n2026-01-01 INFO all is well\\x1b[31m")


def test_a_traceback_stands_behind_bars(capsys: pytest.CaptureFixture[str]) -> None:
    with log_on_stderr(access=False):
        _fail()
    head, *rest = capsys.readouterr().err.splitlines()
    assert head.endswith("ERROR it failed")
    assert rest and all(line.startswith("  | ") for line in rest)
    assert rest[-1] == "  | ValueError: two"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    with log_on_stderr(LogFormat.json, access=False):
        log.warning("two\nlines of %d", 3)
        _fail()
    warning, error = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert warning.keys() == {"time", "level", "logger", "message"}
    assert (warning["level"], warning["message"]) == ("warning", "two\nlines of 3")
    assert error["level"] == "error" and "ValueError" in error["traceback"]


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_levels(level: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    with log_on_stderr(level=LogLevel(level), access=False):
        for tell in (log.debug, log.info, log.warning, log.error):
            tell("something")
    assert len(capsys.readouterr().err.splitlines()) == count
    log.error("nobody listens any more")
    assert "nobody" not in capsys.readouterr().err


def test_errors_of_what_the_server_is_built_on(capsys: pytest.CaptureFixture[str]) -> None:
    with log_on_stderr(LogFormat.json, access=False):
        for name in ("uvicorn.error", "asyncio", "grpc._server"):
            logging.getLogger(name).error("it is over")
            logging.getLogger(name).info("nobody asks")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["logger"], line["message"]) for line in lines] == [
        ("uvicorn.error", "it is over"), ("asyncio", "it is over"), ("grpc._server", "it is over")
    ]  # fmt: skip


@pytest.mark.parametrize("access", [False, True])
def test_requests_are_told_of_when_asked_for(access: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with log_on_stderr(LogFormat.json, LogLevel.error, access=access):
        log_access(peer="1.2.3.4:5", request="Predict", model="m", code=Code.OK, seconds=0.0123)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == access
    for line in lines:
        assert (line["peer"], line["request"], line["model"], line["code"]) == ("1.2.3.4:5", "Predict", "m", "OK")
        assert line["milliseconds"] == 12.3


def test_the_access_log_has_no_bodies(own_server: tfopt.Server, capsys: pytest.CaptureFixture[str]) -> None:
    with log_on_stderr(access=True):
        ask_at(own_server.url, "POST", PREDICT, BODY)
        ask_at(own_server.url, "POST", PREDICT, b'{"secret": 1}')
        ask_at(own_server.url, "GET", "/healthz")
    first, second, third = capsys.readouterr().err.splitlines()
    assert '"POST /v1/models/m:predict" OK ' in first and first.endswith(" ms")
    assert '"POST /v1/models/m:predict" INVALID_ARGUMENT ' in second and "secret" not in second
    assert '"GET /healthz" OK ' in third


def _fail() -> None:
    try:
        int("x")
    except ValueError:
        try:
            raise ValueError("two")
        except ValueError:
            log.exception("it failed")
