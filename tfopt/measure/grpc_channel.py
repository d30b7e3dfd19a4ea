"""Many requests to TensorFlow Serving's PredictionService at once, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError

from tfopt.errors import Code, MissingExtra, RequestError, ServerUnavailable
from tfopt.formats.serving.api import GetModelMetadataRequest, GetModelMetadataResponse, SignatureDefMap
from tfopt.ir.types import TensorType
from tfopt.measure.endpoint import Endpoint, fill_spec, grpc_body, proto_type
from tfopt.measure.inputs import Batch
from tfopt.measure.open_loop import OK

SERVICE: Final = "/tensorflow.serving.PredictionService"
_METADATA: Final = "signature_def"
#: Large tensors are what a model server is for; the client's own limit would be 4 MB.
_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class GrpcChannel:
    """At most `limit` calls under way, on a few connections: a single one would be one socket's pace."""

    def __init__(self, endpoint: Endpoint, *, limit: int, timeout: float, connections: int = 4) -> None:
        """To be made in a running event loop. Raises MissingExtra without grpcio."""
        try:
            import grpc  # type: ignore[import-untyped]  # it ships no types
        except ModuleNotFoundError as error:
            raise MissingExtra.of("grpcio", "grpc", "loading a gRPC server") from error
        self._grpc: Any = grpc
        self._endpoint = endpoint
        self._timeout = timeout
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        # Channels of equal options share a connection, so that each gets an option of its own.
        options: Sequence[Any] = [(*_OPTIONS, ("tfopt.channel", index)) for index in range(min(limit, connections))]
        self._channels = [grpc.aio.insecure_channel(f"{host}:{endpoint.port}", options=each) for each in options]
        self._calls = [channel.unary_unary(f"{SERVICE}/Predict") for channel in self._channels]
        self._next = 0
        self._slots = asyncio.Semaphore(limit)
        self.waited = 0

    async def signatures(self) -> dict[str, dict[str, TensorType]]:
        """The model's inputs by signature. Raises RequestError, ServerUnavailable."""
        request = GetModelMetadataRequest(metadata_field=[_METADATA])
        fill_spec(request.model_spec, self._endpoint)
        ask = self._channels[0].unary_unary(f"{SERVICE}/GetModelMetadata")
        try:
            answer = GetModelMetadataResponse.FromString(await ask(request.SerializeToString(), timeout=self._timeout))
            known = SignatureDefMap.FromString(answer.metadata[_METADATA].value).signature_def
        except self._grpc.aio.AioRpcError as error:
            raise self._understood(error) from error
        except DecodeError as error:
            raise RequestError("the server's metadata is no message of TensorFlow Serving's") from error
        return {
            key: {name: proto_type(info) for name, info in sorted(known[key].inputs.items())} for key in sorted(known)
        }

    def prepare(self, signature: str, inputs: Batch) -> bytes:
        """A serialized PredictRequest."""
        return grpc_body(self._endpoint, signature, inputs)

    async def connect(self, count: int) -> None:
        """Wait until the connections stand. Raises ServerUnavailable."""
        try:
            ready = asyncio.gather(*(channel.channel_ready() for channel in self._channels))
            await asyncio.wait_for(ready, self._timeout)
        except asyncio.TimeoutError as error:
            where = f"{self._endpoint.host}:{self._endpoint.port}"
            raise ServerUnavailable(f"no gRPC server answers within {self._timeout:g} s", where=where) from error

    async def send(self, request: bytes) -> str:
        """The code of the answer."""
        self.waited += self._slots.locked()
        async with self._slots:
            self._next = (self._next + 1) % len(self._calls)
            try:
                await self._calls[self._next](request, timeout=self._timeout)
            except self._grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return OK

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    def _understood(self, error: Any) -> RequestError | ServerUnavailable:
        if error.code().name == Code.UNAVAILABLE.value:
            return ServerUnavailable(f"no gRPC server answers: {error.details()}", where=self._endpoint.url)
        return RequestError(error.details() or error.code().name, code=Code(error.code().name))
