"""Connections to one server, kept open."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from tfopt.errors import Code, RequestError, ServerUnavailable, UsageError

Headers: TypeAlias = "dict[str, str]"

_PORTS = {"http": 8501, "https": 443}

#: The code that an HTTP status most likely stands for (several codes share 400 and 500).
_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


class Connections:
    """`timeout` is in seconds, of one request. May be used by several threads."""

    def __init__(self, url: str, timeout: float) -> None:
        """Raises UsageError for what is no URL. Connects at the first request."""
        self.url = url
        self._timeout = timeout
        self._connect, self._prefix = _address(url, timeout)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = Lock()

    def close(self) -> None:
        """Close the idle connections. The client may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def exchange(self, method: str, path: str, body: bytes | None, headers: Headers) -> tuple[int, bytes]:
        """The status and the body of the answer. Raises ServerUnavailable."""
        path = self._prefix + path
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        try:
            if kept is not None:
                with suppress(ConnectionError):  # closed while it was idle, which says nothing of the server
                    return self._send(kept, method, path, body, headers)
            return self._send(self._connect(), method, path, body, headers)
        except TimeoutError as error:
            raise ServerUnavailable(f"no answer within {self._timeout:g} s", where=self.url) from error
        except (OSError, http.client.HTTPException) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            hint = "is the server running? `tfopt serve MODELS` starts one"
            raise ServerUnavailable(f"no server answers: {said}", where=self.url, hint=hint) from error

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Headers
    ) -> tuple[int, bytes]:
        try:
            with suppress(BrokenPipeError):  # the server may have refused a large body before it was sent
                connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return response.status, content


def _address(url: str, timeout: float) -> tuple[Callable[[], http.client.HTTPConnection], str]:
    """How to connect, and what precedes every path."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no server's address: {error}") from error
    if parts.scheme not in _PORTS or not host:
        raise UsageError(f"{url!r} is no server's address", hint="write http://host:port, or host:port")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return partial(kind, host, port or _PORTS[parts.scheme], timeout=timeout), parts.path.rstrip("/")


def document(content: bytes) -> Any:
    """What the JSON says; None when it is none."""
    try:
        # TensorFlow Serving writes the bytes of strings as they are, UTF-8 or not.
        return json.loads(content.decode("utf-8", "surrogateescape"))
    except ValueError:
        return None


def refusal(status: int, content: bytes) -> RequestError:
    answer = document(content)
    said = answer.get("error") if isinstance(answer, dict) else None
    text = said or content.decode("utf-8", "replace").strip() or f"HTTP status {status} without a word"
    return RequestError(text, code=_CODES.get(status, Code.UNKNOWN))
