"""A running server's gRPC port under the clients that TensorFlow Serving's users have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

import tfopt

Refused = tuple[str, str]


@pytest.fixture(scope="session")
def channel(server: tfopt.Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_address) as opened:
        yield opened


@pytest.fixture(scope="session")
def predictions(channel: grpc.Channel) -> PredictionServiceStub:
    return PredictionServiceStub(channel)


@pytest.fixture(scope="session")
def models(channel: grpc.Channel) -> ModelServiceStub:
    return ModelServiceStub(channel)


@pytest.fixture(scope="session")
def send(channel: grpc.Channel) -> Callable[..., bytes]:
    """`send("Predict", b"any bytes")`: what no client's own messages can say."""

    def sent(method: str, body: bytes, service: str = "PredictionService") -> bytes:
        call = channel.unary_unary(f"/tensorflow.serving.{service}/{method}")
        answer: bytes = call(body, timeout=20)
        return answer

    return sent


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> Refused:
    """The name of the code and the text with which a call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **{"timeout": 20, **options})
    return caught.value.code().name, caught.value.details()
