"""TensorFlow Serving's REST interface as a bare ASGI application."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tfopt.errors import Code, ExecutionError, RequestError, TfoptError
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.serve.plane import ModelSpec, Plane
from tfopt.serve.rest.codec import PredictBody, encode_predict
from tfopt.serve.rest.describe import error_text, metadata_text, models_text, status_text
from tfopt.serve.rest.routes import Ask, EmptyRefusal, Route, find_route

log = logging.getLogger("tfopt.serve")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

#: tensorflow_serving/model_servers/http_server.cc, ToHTTPStatusCode.
HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
#: TensorFlow Serving's limit on what a gzipped body may unpack to, in bytes.
GZIP_LIMIT = 100 * 2**20
DEFAULT_BODY_LIMIT = 256 * 2**20
#: Seconds for which a refused body is still read, so that the client gets to see the refusal.
LINGER = 2.0

_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""


class _TooLarge(Exception):
    """The body is larger than the server takes."""


class _Gone(Exception):
    """The client has left before its request was complete."""


class RestApp:
    """Inference runs on `executor`, all else in the event loop. `body_limit` is in bytes; `cors` adds its headers."""

    def __init__(self, plane: Plane, executor: Executor, *, body_limit: int, cors: bool) -> None:
        self._plane = plane
        self._executor = executor
        self._body_limit = body_limit
        self._cors = _CORS if cors else []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except _Gone:
            return
        except _TooLarge:
            await self._refuse_body(receive, send)
            return
        await self._start(send, answer)
        await send({"type": "http.response.body", "body": answer.body})

    async def _start(self, send: Send, answer: Answer, *more: tuple[bytes, bytes]) -> None:
        length = str(len(answer.body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length), *self._cors, *more]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _refuse_body(self, receive: Receive, send: Send) -> None:
        """Answer at once, read a little more and drop it, then close: a reset would take the answer away."""
        answer = Answer(413, error_text(f"The request's body is larger than {self._body_limit} bytes"))
        await self._start(send, answer, (b"connection", b"close"))
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_discard(receive), LINGER)
        await send({"type": "http.response.body", "body": b""})

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        try:
            route = find_route(scope["method"], target)
            if route.ask in (Ask.PREDICT, Ask.CLASSIFY, Ask.REGRESS):
                return await self._infer(route, scope["headers"], receive)
            return self._tell(route, scope["headers"])
        except TfoptError as error:
            return _refusal(error)
        except (_Gone, _TooLarge):
            raise
        except Exception:  # the rim: a request that fails in an unforeseen way must not end the connection's others
            log.exception("a request failed: %s %s", scope["method"], target)
            return Answer(500, error_text("Internal error; the server's log has the details"))

    def _tell(self, route: Route, headers: Headers) -> Answer:
        if route.ask is Ask.STATUS:
            return Answer(200, status_text(self._plane.statuses(route.spec)))
        if route.ask is Ask.METADATA:
            with self._plane.servable(route.spec) as servable:
                return Answer(200, metadata_text(route.spec.name, servable.number, servable.signatures))
        if route.ask is Ask.PREFLIGHT:
            origin = _header(headers, b"origin").lower()
            return Answer(200 if b"http://" in origin or b"https://" in origin else 400)
        if route.ask is Ask.READY and not self._plane.is_ready():
            return Answer(503, models_text(self._plane.models))
        return Answer(200, models_text(self._plane.models) if route.ask is Ask.MODELS else b'{"status": "ok"}')

    async def _infer(self, route: Route, headers: Headers, receive: Receive) -> Answer:
        body = await self._read(headers, receive)
        if route.ask is not Ask.PREDICT:
            what = f"This server does not answer :{route.ask.value} yet"
            raise RequestError(what, code=Code.UNIMPLEMENTED, hint="call :predict")
        gzipped = _header(headers, b"content-encoding").lower() == b"gzip"
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._predict, route.spec, body, gzipped)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        length = _header(headers, b"content-length")
        if length.isdigit() and int(length) > self._body_limit:
            raise _TooLarge
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > self._body_limit:
                raise _TooLarge
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _predict(self, spec: ModelSpec, body: bytes, gzipped: bool) -> Answer:
        """One request from its body to its answer, in a thread of the executor."""
        return Answer(200, predict(self._plane, spec, _unpack(body) if gzipped else body))


def predict(plane: Plane, spec: ModelSpec, body: bytes) -> bytes:
    """Answer the JSON body of a predict request with another. Raises RequestError, ExecutionError."""
    request = PredictBody(body)
    signature = request.signature or DEFAULT_SIGNATURE
    with plane.servable(spec) as servable:
        info = servable.signatures.get(signature)
        if info is None:
            raise RequestError(f'Serving signature name: "{signature}" not found in signature def')
        inputs, row = request.arrays(info.inputs), request.is_row
        del request  # Python's numbers take ten times the memory of the arrays: not while the engine runs
        outputs = servable.run(signature, inputs)
    return encode_predict(outputs, row=row)


def _refusal(error: TfoptError) -> Answer:
    code = error.status if isinstance(error, (RequestError, ExecutionError)) else error.code
    plain = f"{error.what}; {error.hint}" if error.hint else error.what
    message = error.said if isinstance(error, ExecutionError) else plain
    return Answer(HTTP_STATUS[code], b"" if isinstance(error, EmptyRefusal) else error_text(message))


def _unpack(body: bytes) -> bytes:
    """A gzipped body; what is broken or too large is taken for an empty one, as TensorFlow Serving does."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(body, GZIP_LIMIT)
    except zlib.error:
        return b""
    return content if unpacker.eof else b""


def _header(headers: Headers, name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"")


async def _discard(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
