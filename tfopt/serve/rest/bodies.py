"""Bodies of requests and answers on their way: read within limits, unpacked, packed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

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


class TooLarge(Exception):
    """The body is larger than the server takes."""


class Gone(Exception):
    """The client has left before its request was complete."""


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """Raises TooLarge, Gone."""
    length = header(headers, b"content-length")
    if length.isdigit() and int(length) > limit:
        raise TooLarge
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > limit:
            raise TooLarge
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
