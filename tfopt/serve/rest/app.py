"""The REST interface as a bare ASGI application: a request to its handler, and the answer back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from time import perf_counter

from tfopt.errors import Code, RequestError, TfoptError
from tfopt.runtimes.base import timed_out
from tfopt.serve.logs import log_access
from tfopt.serve.plane import SHUTTING_DOWN, Plane
from tfopt.serve.refusals import INTERNAL
from tfopt.serve.rest import own, serving
from tfopt.serve.rest.bodies import Gone, Intake, Message, Receive, Unread, linger, packed, unpacked
from tfopt.serve.rest.describe import error_text
from tfopt.serve.rest.examples import answer_examples
from tfopt.serve.rest.messages import Answer, Headers, Request, Seen, refusal
from tfopt.serve.rest.oip import handlers as oip
from tfopt.serve.rest.routes import Ask, Route, find_route
from tfopt.serve.settings.options import RestOptions

log = logging.getLogger("tfopt.serve")

Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Plane, Request], Answer]


#: Requests that have a body, and that take their time: on the executor.
INFERENCE: Mapping[Ask, Handler] = {
    Ask.PREDICT: serving.predict,
    Ask.CLASSIFY: answer_examples,
    Ask.REGRESS: answer_examples,
    Ask.INFER: oip.infer,
}
#: Requests that are answered at once, in the event loop.
TALK: Mapping[Ask, Handler] = {
    Ask.STATUS: serving.status,
    Ask.METADATA: serving.metadata,
    Ask.PREFLIGHT: serving.preflight,
    Ask.LIVE: own.live,
    Ask.READY: own.ready,
    Ask.MODELS: own.models,
    Ask.V2_LIVE: oip.live,
    Ask.V2_READY: oip.ready,
    Ask.V2_SERVER: oip.server_metadata,
    Ask.V2_MODEL: oip.model_metadata,
    Ask.V2_MODEL_READY: oip.model_ready,
}

_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]


class RestApp:
    """Inference runs on `executor`, all else in the event loop. Prometheus finds the metrics at `metrics_path`, when
    there is one."""

    def __init__(
        self, plane: Plane, executor: Executor, options: RestOptions, *, metrics_path: str | None = None
    ) -> None:
        self._plane = plane
        self._executor = executor
        self._options = options
        self._intake = Intake(options.body_limit)
        self._cors = _CORS if options.cors else []
        self._metrics_path = metrics_path
        #: Requests for inference that have come and are not answered.
        self.running = 0
        self._talk: Mapping[Ask, Handler] = {**TALK, Ask.OPENAPI: partial(own.openapi, metrics_path)}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except Gone:
            return
        except Unread as unread:
            await self._refuse_body(unread.answer, receive, send)
            return
        await self._start(send, answer)
        await send({"type": "http.response.body", "body": answer.body})

    async def _start(self, send: Send, answer: Answer, *more: tuple[bytes, bytes]) -> None:
        length = str(len(answer.body)).encode()
        own = [(b"content-type", answer.content_type), (b"content-length", length)]
        headers = [*own, *answer.headers, *self._cors, *more]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _refuse_body(self, answer: Answer, receive: Receive, send: Send) -> None:
        """Answer at once, read a little more and drop it, then close: a reset would take the answer away."""
        await self._start(send, answer, (b"connection", b"close"))
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await linger(receive)
        await send({"type": "http.response.body", "body": b""})

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        if scope["raw_path"].decode("latin-1") == self._metrics_path and scope["method"] in ("GET", "HEAD"):
            # Not among the inferences: when these are slow, somebody wants to know.
            page = await asyncio.get_running_loop().run_in_executor(None, self._plane.metrics.page)
            return Answer(page.encode(), content_type=b"text/plain")
        start, route, code, seen = perf_counter(), None, Code.CANCELLED, Seen()
        try:
            route = find_route(scope["method"], target)
            answer = await self._routed(route, scope["headers"], receive, seen)
            code = answer.code
        except TfoptError as error:
            answer = refusal(error)
            code = answer.code
        except Unread as unread:
            code = unread.answer.code
            raise
        except Gone:
            raise
        except asyncio.CancelledError:  # uvicorn stops, and has waited as long as it was told to
            answer = refusal(RequestError(SHUTTING_DOWN, code=Code.UNAVAILABLE))
            code = answer.code
        except Exception:  # the rim: a request that fails in an unforeseen way must not end the connection's others
            log.exception("a request failed: %s %s", scope["method"], target)
            code = Code.INTERNAL
            answer = Answer(error_text(INTERNAL), code)
        finally:
            seconds = perf_counter() - start
            if target[:4].lower() == "/v1/" or (route is not None and route.ask in INFERENCE):
                self._count(route, code, seconds, seen)
            request = f"{scope['method']} {target}"
            model = "" if route is None else route.spec.name
            log_access(peer=_peer(scope), request=request, model=model, code=code, seconds=seconds)
        return answer

    async def _routed(self, route: Route, headers: Headers, receive: Receive, seen: Seen) -> Answer:
        if route.ask not in INFERENCE:
            return self._talk[route.ask](self._plane, Request(route, headers))
        self._plane.check_open()
        self.running += 1
        try:
            body = await self._intake.read(headers, receive)
            infer = partial(self._infer, route, headers, body, seen, came=perf_counter())
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, infer)
            finally:
                self._intake.release(body)
        finally:
            self.running -= 1

    def _count(self, route: Route | None, code: Code, seconds: float, seen: Seen) -> None:
        """All under /v1/, naming a model or not; what is no inference has no API. So TensorFlow Serving counts."""
        model = "" if route is None else route.spec.name
        api = route.ask.value if route is not None and route.ask in INFERENCE else ""
        self._plane.metrics.request(
            model=model,
            api=api,
            entrypoint="REST",
            code=code,
            seconds=seconds,
            version=seen.version,
            signature=seen.signature,
        )

    def _infer(self, route: Route, headers: Headers, body: bytes, seen: Seen, *, came: float) -> Answer:
        """One request from its body to its answer, in a thread of the executor."""
        request = Request(route, headers, unpacked(headers, body), self._time_left(came), seen)
        answer = INFERENCE[route.ask](self._plane, request)
        return packed(headers, answer) if self._options.gzip else answer

    def _time_left(self, came: float) -> float | None:
        """What the wait for a thread has left of the timeout. Raises ExecutionError when that is nothing: whoever asked
        has most likely gone, and those behind are to be answered in time."""
        timeout = self._options.timeout
        left = None if timeout is None else timeout - (perf_counter() - came)
        if left is not None and left <= 0:
            raise timed_out(timeout)
        return left


def _peer(scope: Message) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""
