"""Many requests to one REST server at once, over connections that stay open: HTTP/1.1 as plain as it gets.

A load generator must cost less than what it loads. So requests are bytes that were made before, and of an answer only
the status line and the length are looked at.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Final

from tfopt.errors import Code, ServerUnavailable
from tfopt.ir.types import TensorType
from tfopt.measure.endpoint import Endpoint, rest_body, rest_signatures
from tfopt.measure.inputs import Batch
from tfopt.measure.open_loop import OK

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_HEAD_LIMIT: Final = 1 << 16


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    late: bool = False

    def give_up(self) -> None:
        """Too late: whoever reads gets an error."""
        self.late = True
        self.writer.transport.abort()


class RestChannel:
    """Connections to one endpoint, at most `limit`; what is sent when all are busy waits, and the wait is its own."""

    def __init__(self, endpoint: Endpoint, *, limit: int, timeout: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._slots = asyncio.Semaphore(limit)
        self._idle: deque[_Connection] = deque()
        self._ssl = ssl.create_default_context() if endpoint.protocol == "https" else None
        self.waited = 0

    async def signatures(self) -> dict[str, dict[str, TensorType]]:
        """The model's inputs by signature. Raises RequestError, ServerUnavailable."""
        return await asyncio.to_thread(rest_signatures, self._endpoint, self._timeout)

    def prepare(self, signature: str, inputs: Batch) -> bytes:
        """A request, whole with its head. Raises UsageError for what JSON cannot carry."""
        body = rest_body(signature, inputs)
        host = f"[{self._endpoint.host}]" if ":" in self._endpoint.host else self._endpoint.host
        lines = [
            f"POST {self._endpoint.path}:predict HTTP/1.1",
            f"Host: {host}:{self._endpoint.port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def connect(self, count: int) -> None:
        """Open connections ahead, so that no request pays for one. Raises ServerUnavailable."""
        while len(self._idle) < count:
            try:
                self._idle.append(await self._open())
            except OSError as error:
                where = f"{self._endpoint.host}:{self._endpoint.port}"
                raise ServerUnavailable(f"no server answers: {error.strerror or error}", where=where) from error

    async def send(self, request: bytes) -> str:
        """The code of the answer."""
        self.waited += self._slots.locked()
        async with self._slots:
            try:
                connection = self._idle.pop() if self._idle else await self._open()
            except OSError:
                return Code.UNAVAILABLE.value
            # A timer costs less than the task that asyncio.wait_for makes of each request.
            timer = asyncio.get_running_loop().call_later(self._timeout, connection.give_up)
            try:
                status, reusable = await _exchange(connection, request)
            except (OSError, EOFError, ValueError):
                connection.writer.close()
                code = Code.DEADLINE_EXCEEDED if connection.late else Code.UNAVAILABLE
                return code.value
            finally:
                timer.cancel()
            if reusable:
                self._idle.append(connection)
            else:
                connection.writer.close()
            return OK if status == 200 else str(status)

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().writer.close()

    async def _open(self) -> _Connection:
        address = self._endpoint.host, self._endpoint.port
        return _Connection(*await asyncio.open_connection(*address, ssl=self._ssl, limit=_HEAD_LIMIT))


async def _exchange(connection: _Connection, request: bytes) -> tuple[int, bool]:
    """Status, and whether the connection can be used again. Raises ValueError for what is no HTTP."""
    connection.writer.write(request)
    try:
        head = await connection.reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError("a head without an end") from error
    status, length = _STATUS.match(head), _LENGTH.search(head)
    if status is None:
        raise ValueError("no HTTP")
    if length is not None:
        await connection.reader.readexactly(int(length[1]))
    elif _CHUNKED.search(head):
        while size := int((await connection.reader.readline()).partition(b";")[0], 16):
            await connection.reader.readexactly(size + 2)
        await connection.reader.readline()
    else:
        await connection.reader.read()
        return int(status[1]), False
    return int(status[1]), not _CLOSE.search(head)
