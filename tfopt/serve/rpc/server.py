"""The gRPC face: the calls behind a port or a Unix socket, with health and reflection beside them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships no types

from tfopt.errors import Code, RequestError, ServerUnavailable, TfoptError, UsageError
from tfopt.serve.logs import access_is_logged, log_access
from tfopt.serve.plane import Plane
from tfopt.serve.refusals import INTERNAL, told
from tfopt.serve.rpc.beside import Health, add_reflection
from tfopt.serve.rpc.models import ModelCalls, Reconfigure
from tfopt.serve.rpc.options import LARGEST_MESSAGE, GrpcOptions, Tls
from tfopt.serve.rpc.prediction import Call, PredictionCalls
from tfopt.serve.rpc.specs import model_named

log = logging.getLogger("tfopt.serve")

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
SERVICES = (PREDICTION_SERVICE, MODEL_SERVICE)

#: TensorFlow Serving cuts an error's text here (model_servers/grpc_status_util.cc).
_LONGEST_TEXT = 1024
#: Without a deadline gRPC tells of one that is centuries away.
_NO_DEADLINE = 1e8


class GrpcServer:
    """Answers on `port` of `host` (0: any free one, None: none) and on the Unix socket `socket_path`.

    Clients may change the models through `reconfigure`, when it is given.
    """

    def __init__(
        self,
        plane: Plane,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        socket_path: str | None = None,
        options: GrpcOptions = GrpcOptions(),
        reconfigure: Reconfigure | None = None,
    ) -> None:
        """Raises UsageError for settings that make no server."""
        settings = options
        self._host = host
        self._port = port
        self._socket_path = socket_path
        self._credentials = None if settings.tls is None else _credentials(settings.tls)
        self._enforce_deadlines = settings.enforce_deadlines
        threads = settings.max_threads or 4 * (os.cpu_count() or 1)
        self._server = grpc.server(ThreadPoolExecutor(threads, "tfopt-grpc"), options=_channel_options(settings))
        self._add(PREDICTION_SERVICE, PredictionCalls(plane, as_content=settings.as_content).methods)
        self._add(MODEL_SERVICE, ModelCalls(plane, reconfigure).methods)
        self._health = Health(self._server, SERVICES) if settings.health else None
        if settings.reflection:
            add_reflection(self._server, SERVICES)

    @property
    def address(self) -> str | None:
        """Where clients find the port."""
        if self._port is None:
            return None
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)
        return _address(host, self._port)

    def start(self) -> None:
        """Listen. Raises ServerUnavailable when the port is taken."""
        if self._port is not None:
            self._port = self._listen(_address(self._host or "0.0.0.0", self._port))
        if self._socket_path is not None:
            self._listen(f"unix:{self._socket_path}")
        self._server.start()

    def ready(self) -> None:
        """Tell those who ask for the health that requests are welcome."""
        if self._health is not None:
            self._health.ready()

    def leave(self) -> None:
        """Tell them to go elsewhere; requests are still answered."""
        if self._health is not None:
            self._health.drain()

    def stop(self, grace: float) -> threading.Event:
        """Take no more requests, and end those that have not finished after `grace` seconds. Does not wait: the event
        is set when all is over."""
        self.leave()
        stopped: threading.Event = self._server.stop(grace)
        return stopped

    def _listen(self, address: str) -> int:
        try:
            if self._credentials is None:
                return int(self._server.add_insecure_port(address))
            return int(self._server.add_secure_port(address, self._credentials))
        except RuntimeError as error:
            hint = "choose another port, or stop the server that has this one"
            raise ServerUnavailable("cannot listen for gRPC", where=address, hint=hint) from error

    def _add(self, service: str, calls: Mapping[str, Call]) -> None:
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._handler(name, call)) for name, call in calls.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        # As servers of generated code do; these are found 20 us sooner.
        self._server.add_registered_method_handlers(service, handlers)

    def _handler(self, name: str, call: Call) -> Callable[[bytes, Any], bytes]:
        def answer(body: bytes, context: Any) -> bytes:
            start, code = perf_counter(), Code.OK
            try:
                return call(body, self._timeout(context))
            except TfoptError as error:
                code, text = told(error)
            except Exception:  # the rim: a request that fails in an unforeseen way must not end the server
                log.exception("a request failed: %s", name)
                code, text = Code.INTERNAL, INTERNAL
            finally:
                if access_is_logged():
                    model, seconds = model_named(name, body), perf_counter() - start
                    log_access(peer=context.peer(), request=name, model=model, code=code, seconds=seconds)
            context.abort(grpc.StatusCode[code.name], _cut(text))
            raise AssertionError  # abort does not return

        return answer

    def _timeout(self, context: Any) -> float | None:
        left = float(context.time_remaining()) if self._enforce_deadlines else _NO_DEADLINE
        if left <= 0:
            raise RequestError("The deadline passed before the request was looked at", code=Code.DEADLINE_EXCEEDED)
        return None if left >= _NO_DEADLINE else left


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= _LONGEST_TEXT else raw[:_LONGEST_TEXT].decode("utf-8", "ignore") + "...TRUNCATED"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _credentials(tls: Tls) -> Any:
    if tls.client_verify and tls.ca is None:
        raise UsageError("clients cannot be verified without the authority that signs for them", hint="give custom_ca")
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)], root_certificates=tls.ca, require_client_auth=tls.client_verify
    )


def _channel_options(settings: GrpcOptions) -> list[tuple[str, int | str]]:
    ours: dict[str, int | str] = {
        # Two servers would else share a port, and a request go to either.
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": settings.max_message,
        "grpc.max_send_message_length": LARGEST_MESSAGE,
    }
    return list((ours | dict(settings.channel_arguments)).items())
