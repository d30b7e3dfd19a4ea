"""Loading real servers over real sockets: our own over REST, and a small one of TensorFlow Serving's service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import tfopt
from tests import models
from tests.measure import artifacts
from tfopt.errors import ExecutionError, RequestError, ServerUnavailable, UsageError
from tfopt.formats.serving.api import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from tfopt.measure.grpc_channel import SERVICE
from tfopt.measure.server_bench import STRETCHES, bench_servers
from tfopt.measure.server_values import ServerReport

Built = Callable[[Callable[[Path], Path]], Path]
QUICK: dict[str, Any] = {"seconds": 0.5, "rates": [40.0]}


@pytest.fixture(scope="module")
def server(built: Built) -> Iterator[tfopt.Server]:
    with tfopt.Server(f"linear={built(artifacts.linear_tflite)}", port=0, threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def report(server: tfopt.Server) -> ServerReport:
    url = f"{server.url}/v1/models/linear"
    return bench_servers([url, url], rates=[30.0, 60.0], seconds=0.6, seed=5)


def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
    """y = 2 x; nothing for a model called `broken`, and every third time RESOURCE_EXHAUSTED for one called `full`."""
    asked = PredictRequest.FromString(request)
    if asked.model_spec.name == "broken":
        context.abort(grpc.StatusCode.INTERNAL, "it broke")
    if asked.model_spec.name == "full":
        FULL.append(1)
        if len(FULL) % 3 == 0:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    x = np.frombuffer(asked.inputs["x"].tensor_content, np.float32)
    reply = PredictResponse()
    reply.model_spec.name = asked.model_spec.name
    reply.outputs["y"].dtype = 1
    reply.outputs["y"].tensor_content = (2 * x).tobytes()
    return bytes(reply.SerializeToString())


FULL: list[int] = []


def describe(request: bytes, context: grpc.ServicerContext) -> bytes:
    asked = GetModelMetadataRequest.FromString(request)
    if asked.model_spec.name == "absent":
        context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(absent)")
    signatures = SignatureDefMap()
    info = signatures.signature_def["serving_default"].inputs["x"]
    info.dtype = 1
    for size in (-1, 3):
        info.tensor_shape.dim.add(size=size)
    reply = GetModelMetadataResponse()
    reply.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    reply.metadata["signature_def"].value = signatures.SerializeToString()
    return bytes(reply.SerializeToString())


@pytest.fixture(scope="module")
def grpc_address() -> Iterator[str]:
    calls = {f"{SERVICE}/Predict": answer, f"{SERVICE}/GetModelMetadata": describe}

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            call = calls.get(details.method)
            return None if call is None else grpc.unary_unary_rpc_method_handler(call)

    running = grpc.server(ThreadPoolExecutor(2))
    running.add_generic_rpc_handlers((Handler(),))
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    yield f"grpc://127.0.0.1:{port}"
    running.stop(None)


def test_our_own_server_at_two_rates(report: ServerReport) -> None:
    assert report.rates == (30.0, 60.0)
    assert report.signature == "serving_default"
    assert report.inputs.shapes == {"x": (1, 3)}
    for served in report.servers:
        assert served.capacity > 10
        for point, rate in zip(served.points, report.rates, strict=True):
            assert point.rate == rate
            assert point.errors == {}
            assert point.latency is not None
            assert point.latency.calls == point.requests > 5
            assert len(point.medians) <= STRETCHES


def test_servers_meet_the_same_arrivals_and_are_compared_to_the_first(report: ServerReport) -> None:
    first, second = report.servers
    for one, other in zip(first.points, second.points, strict=True):
        assert one.requests == other.requests
        assert one.speedup is None
        assert other.speedup is not None
        ratios = [a / b for a, b in zip(one.medians, other.medians, strict=True)]
        assert other.speedup.value == pytest.approx(np.exp(np.mean(np.log(ratios))))


def test_a_report_travels_as_json(report: ServerReport) -> None:
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["servers"][0]["points"][0]["kept_up"] in (True, False)
    assert ServerReport.from_dict(document) == report


def test_that_they_share_the_machine_is_told(report: ServerReport) -> None:
    assert any("share this machine" in warning for warning in report.warnings)


def test_without_a_rate_it_sweeps_over_the_capacity(server: tfopt.Server) -> None:
    result = bench_servers([server.url], seconds=0.1)
    assert result.servers[0].url == f"{server.url}/v1/models/linear", "the only model of the server"
    assert result.rates == tuple(sorted(result.rates))
    assert result.rates[0] < result.servers[0].capacity < result.rates[-1] * 1.01


def test_batches_samples_and_words(built: Built, tmp_path: Path) -> None:
    with tfopt.Server(f"table={built(models.table)}", port=0) as running:
        assert bench_servers([running.url], batch_size=3, **QUICK).inputs.shapes == {"words": (3,)}
        data = tmp_path / "words.npy"
        np.save(data, np.array(["fox", "dog"]))
        result = bench_servers([running.url], data=data, **QUICK)
    assert result.inputs.source == "file"
    assert result.servers[0].points[0].errors == {}


def test_a_model_that_is_not_there(server: tfopt.Server) -> None:
    with pytest.raises(RequestError, match="absent"):
        bench_servers([f"{server.url}/v1/models/absent"], **QUICK)


def test_a_model_of_unknown_rank_wants_a_shape(built: Built) -> None:
    with tfopt.Server(f"numbers={built(artifacts.any_rank)}", port=0) as running:
        with pytest.raises(UsageError, match="no known shape"):
            bench_servers([running.url], **QUICK)
        assert bench_servers([running.url], shapes={"x": (None, 4)}, **QUICK).inputs.shapes == {"x": (1, 4)}


def test_over_grpc(grpc_address: str) -> None:
    result = bench_servers([f"{grpc_address}/linear"], **QUICK)
    (point,) = result.servers[0].points
    assert point.errors == {}
    assert point.latency is not None
    assert point.latency.calls == point.requests
    assert result.inputs.shapes == {"x": (1, 3)}


def test_rest_and_grpc_are_compared(grpc_address: str, server: tfopt.Server) -> None:
    result = bench_servers([f"{server.url}/v1/models/linear", f"{grpc_address}/linear"], **QUICK)
    assert result.servers[1].points[0].speedup is not None


def test_errors_of_grpc_have_their_codes(grpc_address: str) -> None:
    point = bench_servers([f"{grpc_address}/full"], **QUICK).servers[0].points[0]
    assert set(point.errors) == {"RESOURCE_EXHAUSTED"}
    assert not point.kept_up
    with pytest.raises(ExecutionError, match="the server answers INTERNAL"):
        bench_servers([f"{grpc_address}/broken"], **QUICK)
    with pytest.raises(RequestError, match="Servable not found"):
        bench_servers([f"{grpc_address}/absent"], **QUICK)


def test_no_server_at_all() -> None:
    with pytest.raises(ServerUnavailable):
        bench_servers(["http://127.0.0.1:1/v1/models/m"], **QUICK)
    with pytest.raises(ServerUnavailable):
        bench_servers(["grpc://127.0.0.1:1/m"], timeout=1.0, **QUICK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"urls": []}, "at least one URL"),
        ({"urls": "http://host/m"}, "a list"),
        ({"rates": [0.0]}, "a rate of 0"),
        ({"rates": [5.0, float("nan")]}, "a rate of"),
        ({"batch_size": 0}, "batch size 0"),
        ({"seconds": 0.0}, "0 seconds"),
        ({"connections": 0}, "0 connections"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bench_servers(**{"urls": ["http://host/m"], **arguments})
