"""What stands beside the calls: whether the server is well, and what may be asked of it.

Sources: https://github.com/grpc/grpc/blob/master/doc/health-checking.md, server-reflection.md. TensorFlow Serving has
the former behind a flag, under short names, and the latter not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # they ship no types
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection,
    reflection_pb2,
    reflection_pb2_grpc,
)

from tfopt.formats.serving.schema import POOL

#: Streams of reflection that are answered at once. Each holds a thread for as long as its client likes.
_REFLECTIONS = 2


class Health:
    """NOT_SERVING until `ready`, and again from `drain` on."""

    def __init__(self, server: Any, services: Sequence[str]) -> None:
        #: "" is the server as a whole; TensorFlow Serving has the names without their package.
        self._names = ("", *services, *(name.rpartition(".")[2] for name in services))
        self._servicer = health.HealthServicer()
        self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def ready(self) -> None:
        self._set(health_pb2.HealthCheckResponse.SERVING)

    def drain(self) -> None:
        self._servicer.enter_graceful_shutdown()

    def _set(self, status: Any) -> None:
        for name in self._names:
            self._servicer.set(name, status)


def add_reflection(server: Any, services: Sequence[str]) -> None:
    """Tell clients like grpcurl of the services and their messages."""
    for known in (health_pb2, reflection_pb2):
        POOL.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    servicer = reflection.ReflectionServicer((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), POOL)
    # Threads of their own: a few open streams would else take all that answer requests.
    threads = ThreadPoolExecutor(_REFLECTIONS, "tfopt-reflection")
    servicer.ServerReflectionInfo.__func__.experimental_thread_pool = threads
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
