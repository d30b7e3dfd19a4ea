"""uvicorn's connections, with limits for clients that are slow or send without end."""

from __future__ import annotations

import sys
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request's line and headers beyond the first packet.
HEAD_LIMIT = 64 * 1024


class Uvicorn(uvicorn.Server):
    """uvicorn that gives up on connections where nothing moves for `io_timeout` seconds."""

    def __init__(self, config: uvicorn.Config, io_timeout: float) -> None:
        super().__init__(config)
        self._io_timeout = io_timeout

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # once a second
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.abort_when_slow(self._io_timeout)
        return await super().on_tick(counter)


class Connection(HttpToolsProtocol):
    """Knows since when it has been waiting for the rest of a request, or for the client to read its answer."""

    _request_since: float | None = None
    _unread = 0
    _unread_since = 0.0
    _in_head = False
    _head_size = 0
    _received = b""
    _again = b""
    _upgrade_asked = False
    _at_end = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._request_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > HEAD_LIMIT:
                self.transport.abort()
                return
        self._received = data
        while self._received:
            self._again = b""
            super().data_received(self._received)
            self._received = self._again

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio reads the answer, uvicorn gives none
        """Stay for the answers when the client says no more behind its requests."""
        self._at_end = True
        return self._is_answering()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._at_end and not self._is_answering():
            self.transport.close()

    def _is_answering(self) -> bool:
        waits = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        return waits or bool(self.pipeline)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_size = True, 0
        if self._request_since is None:
            self._request_since = self.loop.time()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._upgrade_asked = self.parser.should_upgrade()
        if not self._upgrade_asked:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._upgrade_asked:
            super().on_message_complete()
            self._request_since = None

    def _unsupported_upgrade_warning(self) -> None:
        """Called while the parser's HttpParserUpgrade is handled: answer the request as if it asked for no upgrade.

        Java's client asks for HTTP/2 with every request, and the parser takes such a one for a request without a body.
        """
        if self.parser.get_method() == b"CONNECT":
            self.send_400_response("This server is no proxy.")
            return
        paused = sys.exc_info()[1]
        rest = self._received[paused.args[0] :] if paused is not None else b""
        line = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self._again = b"\r\n".join([line, *kept, b"", b""]) + rest

    def abort_when_slow(self, timeout: float) -> None:
        now = self.loop.time()
        unread = self.transport.get_write_buffer_size()
        if unread < self._unread or self._unread == 0:
            self._unread_since = now
        self._unread = unread
        late = self._request_since is not None and now - self._request_since > timeout
        if late or (unread and now - self._unread_since > timeout):
            self.transport.abort()
