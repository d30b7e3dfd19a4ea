"""What a server says while it runs: one record a line on stderr, as text or as JSON.

A request is told of only in the access log, and its body not even there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import Enum
from typing import Final

from tfopt.errors import Code

ACCESS: Final = logging.getLogger("tfopt.access")
#: Whose errors are told of too.
_BELOW: Final = ("uvicorn", "asyncio", "grpc")
#: Beside the message, in JSON: what a record is about, by name.
_FIELDS = "tfopt_fields"


class LogFormat(str, Enum):
    text = "text"
    json = "json"


class LogLevel(str, Enum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


@contextmanager
def log_on_stderr(kind: LogFormat = LogFormat.text, level: LogLevel = LogLevel.info, *, access: bool) -> Iterator[None]:
    """Let everything under `tfopt` be logged while the block runs, and the errors of what it is built on; `access`:
    each request too, whatever the level."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if kind is LogFormat.json else _Text())
    logs = [logging.getLogger(name) for name in ("tfopt", *_BELOW)]
    before = [(log, log.level) for log in (*logs, ACCESS)]
    for log in logs:
        log.addHandler(handler)
        log.setLevel(level.value.upper() if log.name == "tfopt" else logging.ERROR)
    ACCESS.setLevel(logging.INFO if access else logging.CRITICAL)
    try:
        yield
    finally:
        for log in logs:
            log.removeHandler(handler)
        for log, known in before:
            log.setLevel(known)


def access_is_logged() -> bool:
    return ACCESS.isEnabledFor(logging.INFO)


def log_access(*, peer: str, request: str, model: str, code: Code, seconds: float) -> None:
    """One request that has been answered: `request` is "POST /v1/models/m:predict" or the name of a call."""
    if not access_is_logged():
        return
    fields = {
        "peer": peer, "request": request, "model": model, "code": code.value, "milliseconds": round(seconds * 1e3, 3)
    }  # fmt: skip
    ACCESS.info('%s "%s" %s %.3f ms', peer, request, code.value, seconds * 1e3, extra={_FIELDS: fields})


class _Text(logging.Formatter):
    """A line a record; only the lines of a traceback follow it, each behind a bar."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return _printable(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        return "\n".join(f"  | {line}" for line in super().formatException(ei).splitlines())  # type: ignore[arg-type]


class _Json(logging.Formatter):
    """An object a line, the traceback a text in it."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


def _printable(text: str) -> str:
    """Line breaks and control codes spelled out: what clients send may not pass for a record of its own."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
