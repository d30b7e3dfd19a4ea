"""Bodies of requests and answers on their way: read within limits, unpacked, packed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from tfopt.errors import Code
from tfopt.serve.rest.describe import error_text
from tfopt.serve.rest.messages import JSON, Answer, Headers, header

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

#: TensorFlow Serving's limit on what a gzipped body may unpack to, in bytes.
GZIP_LIMIT = 100 * 2**20
#: Bytes from which an answer is gzipped: below, the network saves less than packing costs.
GZIP_FROM = 64 * 2**10
#: The fastest level: JSON's digits hardly get smaller with more.
_GZIP_LEVEL = 1
#: Seconds for which a refused body is still read, so that the client gets to see the refusal.
LINGER = 2.0


#: How many of the largest bodies the server holds at one time.
MOST_BODIES = 4


class Unread(Exception):
    """The body is not read to its end: `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class Gone(Exception):
    """The client has left before its request was complete."""


class Intake:
    """Reads bodies of up to `limit` bytes, and holds no more than a few times as much at one time, whoever sends."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    async def read(self, headers: Headers, receive: Receive) -> bytes:
        """The body, to be released when it has been dealt with. Raises Unread, Gone."""
        length = header(headers, b"content-length")
        if length.isdigit() and int(length) > self._limit:
            raise self._too_large()
        parts: list[bytes] = []
        size, more = 0, True
        try:
            while more:
                part, more = await _part(receive)
                parts.append(part)
                size += len(part)
                self._held += len(part)
                self._check(size)
        except BaseException:
            self._held -= size
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self, body: bytes) -> None:
        self._held -= len(body)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise self._too_large()
        if self._held > MOST_BODIES * self._limit:
            raise Unread(Answer(error_text("The server holds too many large requests"), Code.UNAVAILABLE))

    def _too_large(self) -> Unread:
        text = error_text(f"The request's body is larger than {self._limit} bytes")
        return Unread(Answer(text, Code.RESOURCE_EXHAUSTED, http_status=413))


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """The next part, and whether more come."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message.get("body", b""), message.get("more_body", False)


async def linger(receive: Receive) -> None:
    """Drop what the client still sends, for a while."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_discard(receive), LINGER)


async def _discard(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


def unpacked(headers: Headers, body: bytes) -> bytes:
    """The body without gzip; what is broken or too large is taken for an empty one, as TensorFlow Serving does."""
    if b"gzip" not in header(headers, b"content-encoding").lower():
        return body
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(body, GZIP_LIMIT)
    except zlib.error:
        return b""
    return content if unpacker.eof else b""


def packed(headers: Headers, answer: Answer) -> Answer:
    """The answer gzipped, where it is long, text, and the client asks for that."""
    if len(answer.body) < GZIP_FROM or answer.content_type != JSON or not _takes_gzip(headers):
        return answer
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS)
    body = packer.compress(answer.body) + packer.flush()
    more = (*answer.headers, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))
    return Answer(body, answer.code, JSON, more, answer.http_status)


def _takes_gzip(headers: Headers) -> bool:
    for item in header(headers, b"accept-encoding").lower().split(b","):
        name, _, parameter = item.partition(b";")
        if name.strip() == b"gzip":
            return parameter.replace(b" ", b"") not in (b"q=0", b"q=0.0")
    return False
