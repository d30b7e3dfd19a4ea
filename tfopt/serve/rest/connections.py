"""uvicorn's connections, with limits for clients that are slow or send without end."""

from __future__ import annotations

from typing import Any

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

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._request_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > HEAD_LIMIT:
                self.transport.abort()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_size = True, 0
        if self._request_since is None:
            self._request_since = self.loop.time()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._request_since = None

    def abort_when_slow(self, timeout: float) -> None:
        now = self.loop.time()
        unread = self.transport.get_write_buffer_size()
        if unread < self._unread or self._unread == 0:
            self._unread_since = now
        self._unread = unread
        late = self._request_since is not None and now - self._request_since > timeout
        if late or (unread and now - self._unread_since > timeout):
            self.transport.abort()
