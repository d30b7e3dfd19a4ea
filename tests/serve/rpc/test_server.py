"""The gRPC server around its calls: where it listens, how it ends, what it survives. The engine multiplies by 3."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
import trustme
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from tests.serve.engines import Multiplier, load_multiplier, write_multiplier
from tests.serve.rpc.conftest import refused
from tests.serve.rpc.requests import predict
from tfopt.errors import ServerUnavailable, UsageError
from tfopt.runtimes.base import Runtime
from tfopt.serve.plane import Plane
from tfopt.serve.rpc.options import GrpcOptions, Tls, parse_channel_arguments
from tfopt.serve.rpc.server import GrpcServer
from tfopt.serve.versions.loading import Loaded
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.sources import BasePath

ONES = predict("m", {"x": np.ones(2)})


@contextmanager
def planes(directory: Path, load: Callable[[Path], Runtime] = load_multiplier, *, wait: bool = True) -> Iterator[Plane]:
    if not (directory / "m").exists():
        write_multiplier(directory / "m" / "1", 3)
    model = ModelVersions("m", BasePath(directory / "m"), lambda path: Loaded(load(path)), poll_interval=0.01)
    model.start()
    if wait:
        assert model.started.wait(10)
    yield Plane({"m": model})
    model.stop()


@contextmanager
def serving(plane: Plane, **settings: Any) -> Iterator[GrpcServer]:
    server = GrpcServer(plane, **{"port": 0, **settings})
    server.start()
    server.ready()
    yield server
    server.stop(0).wait(10)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with planes(tmp_path) as made:
        yield made


@pytest.fixture
def server(plane: Plane) -> Iterator[GrpcServer]:
    with serving(plane) as running:
        yield running


@pytest.fixture
def stub(server: GrpcServer) -> Iterator[PredictionServiceStub]:
    with grpc.insecure_channel(server.address) as channel:
        yield PredictionServiceStub(channel)


def threes(answer: PredictResponse) -> bool:
    return bool((tf.make_ndarray(answer.outputs["y"]) == [3, 3]).all())


def test_tensor_content_by_option(plane: Plane) -> None:
    with (
        serving(plane, options=GrpcOptions(as_content=True)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        answer = PredictionServiceStub(channel).Predict(ONES)
    assert answer.outputs["y"].tensor_content and not answer.outputs["y"].double_val and threes(answer)


def test_the_check_of_method_names_by_option(plane: Plane) -> None:
    checking = Plane(plane.models, check_method_names=True)
    with serving(checking) as server, grpc.insecure_channel(server.address) as channel:
        stub = PredictionServiceStub(channel)
        assert threes(stub.Predict(ONES))
        request = predict("m").SerializeToString()
        code, text = refused(channel.unary_unary("/tensorflow.serving.PredictionService/Regress"), request)
    assert code == "INVALID_ARGUMENT" and "method_name to be tensorflow/serving/regress. Was:" in text


def test_a_model_that_is_loading_asks_to_come_again(tmp_path: Path) -> None:
    go = threading.Event()

    def slowly(path: Path) -> Multiplier:
        assert go.wait(10)
        return load_multiplier(path)

    with (
        planes(tmp_path, slowly, wait=False) as plane,
        serving(plane) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        code, text = refused(PredictionServiceStub(channel).Predict, ONES)
        go.set()
        assert (code, text) == ("UNAVAILABLE", "Servable not found for request: Latest(m)")


def test_a_bug_in_an_engine_is_an_internal_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(Multiplier):
        def run(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("secret of the engine")

    with (
        planes(tmp_path, lambda _: Buggy(1)) as plane,
        serving(plane) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        code, text = refused(PredictionServiceStub(channel).Predict, ONES)
        assert (code, text) == ("INTERNAL", "Internal error; the server's log has the details")
        assert "secret of the engine" in caplog.text
        assert plane.models["m"].snapshot.servables[1]._users == 0, "the version was given back"


def test_requests_are_counted(plane: Plane, stub: PredictionServiceStub) -> None:
    stub.Predict(ONES)
    refused(stub.Predict, predict("m"))
    page = plane.metrics.page()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1' in page
    assert ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 1' in page
    assert 'request_latency_count{model_name="m",API="Predict",entrypoint="GRPC"} 1' in page


def test_the_clients_deadline_is_the_runs(tmp_path: Path) -> None:
    told: list[float | None] = []

    class Timed(Multiplier):
        def run(self, *arguments: Any, timeout: float | None = None, **named: Any) -> Any:
            told.append(timeout)
            return super().run(*arguments, **named)

    with planes(tmp_path, lambda _: Timed(3)) as plane:
        for enforce in (True, False):
            options = GrpcOptions(enforce_deadlines=enforce)
            with serving(plane, options=options) as server, grpc.insecure_channel(server.address) as channel:
                stub = PredictionServiceStub(channel)
                stub.Predict(ONES)
                stub.Predict(ONES, timeout=5)
    none, deadline, *unasked = told
    assert none is None and deadline is not None and 4 < deadline < 5.1 and unasked == [None, None]


def test_a_request_whose_deadline_has_passed_is_not_run(tmp_path: Path) -> None:
    gate, runs = threading.Event(), []

    class Gated(Multiplier):
        def run(self, *arguments: Any, **named: Any) -> Any:
            runs.append(1)
            return super().run(*arguments, **named)

    with planes(tmp_path, lambda _: Gated(3, gate)) as plane:
        options = GrpcOptions(max_threads=1)
        with serving(plane, options=options) as server, grpc.insecure_channel(server.address) as channel:
            stub = PredictionServiceStub(channel)
            first = stub.Predict.future(ONES)
            while not runs:
                time.sleep(0.01)
            assert refused(stub.Predict, ONES, timeout=0.1)[0] == "DEADLINE_EXCEEDED"
            gate.set()
            assert threes(first.result(10)) and threes(stub.Predict(ONES, timeout=10))
    assert len(runs) == 2, "who waits for the only thread and then no more is passed over"


def test_the_limit_of_a_message(plane: Plane) -> None:
    options = GrpcOptions(max_message=100_000)
    with serving(plane, options=options) as server, grpc.insecure_channel(server.address) as channel:
        stub = PredictionServiceStub(channel)
        code, text = refused(stub.Predict, predict("m", {"x": np.ones(20_000)}))
        assert code == "RESOURCE_EXHAUSTED" and "larger than max" in text
        assert threes(stub.Predict(ONES))


def test_a_unix_socket_alone_and_beside_a_port(plane: Plane, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serving(plane, port=None, socket_path=path) as server:
        assert server.address is None
        with grpc.insecure_channel(f"unix:{path}") as channel:
            assert threes(PredictionServiceStub(channel).Predict(ONES))
    with serving(plane, socket_path=path) as server:
        for address in (f"unix:{path}", server.address):
            with grpc.insecure_channel(address) as channel:
                assert threes(PredictionServiceStub(channel).Predict(ONES))


def test_a_port_that_is_taken(plane: Plane, server: GrpcServer, tmp_path: Path) -> None:
    port = int(str(server.address).rpartition(":")[2])
    with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port}: cannot listen for gRPC"):
        GrpcServer(plane, port=port).start()
    with pytest.raises(ServerUnavailable, match="cannot listen for gRPC"):
        GrpcServer(plane, socket_path=str(tmp_path / "no" / "such" / "directory")).start()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def key_and_certificate(authority: trustme.CA) -> tuple[bytes, bytes]:
    issued = authority.issue_cert("localhost", "127.0.0.1")
    return issued.private_key_pem.bytes(), b"".join(part.bytes() for part in issued.cert_chain_pems)


def test_tls(plane: Plane, authority: trustme.CA, key_and_certificate: tuple[bytes, bytes]) -> None:
    trusted = authority.cert_pem.bytes()
    with serving(plane, options=GrpcOptions(tls=Tls(*key_and_certificate))) as server:
        with grpc.secure_channel(server.address, grpc.ssl_channel_credentials(trusted)) as channel:
            assert threes(PredictionServiceStub(channel).Predict(ONES))
        with grpc.insecure_channel(server.address) as channel:
            assert refused(PredictionServiceStub(channel).Predict, ONES)[0] == "UNAVAILABLE"


def test_tls_with_clients_that_are_verified(
    plane: Plane, authority: trustme.CA, key_and_certificate: tuple[bytes, bytes]
) -> None:
    trusted = authority.cert_pem.bytes()
    options = GrpcOptions(tls=Tls(*key_and_certificate, ca=trusted, client_verify=True))
    with serving(plane, options=options) as server:
        known = grpc.ssl_channel_credentials(trusted, *key_and_certificate)
        with grpc.secure_channel(server.address, known) as channel:
            assert threes(PredictionServiceStub(channel).Predict(ONES))
        with grpc.secure_channel(server.address, grpc.ssl_channel_credentials(trusted)) as channel:
            assert refused(PredictionServiceStub(channel).Predict, ONES)[0] == "UNAVAILABLE"


def test_tls_settings_that_are_none(plane: Plane, key_and_certificate: tuple[bytes, bytes]) -> None:
    with pytest.raises(UsageError, match="custom_ca"):
        GrpcServer(plane, options=GrpcOptions(tls=Tls(*key_and_certificate, client_verify=True)))
    with pytest.raises(ServerUnavailable, match="cannot listen for gRPC"):
        GrpcServer(plane, port=0, options=GrpcOptions(tls=Tls(b"no key", b"no certificate"))).start()


def health(channel: grpc.Channel, service: str = "") -> str:
    status = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=10).status
    return str(HealthCheckResponse.ServingStatus.Name(status))


def test_health(plane: Plane) -> None:
    server = GrpcServer(plane, port=0)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        assert health(channel) == "NOT_SERVING", "before the models have been looked at"
        server.ready()
        for name in ("", "PredictionService", "ModelService", "tensorflow.serving.PredictionService"):
            assert health(channel, name) == "SERVING"
        with pytest.raises(grpc.RpcError) as caught:
            health(channel, "other")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        server.leave()
        assert health(channel) == health(channel, "ModelService") == "NOT_SERVING"
        assert threes(PredictionServiceStub(channel).Predict(ONES)), "requests are still answered"
    server.stop(0).wait(10)


def test_neither_health_nor_reflection_by_option(plane: Plane) -> None:
    options = GrpcOptions(health=False, reflection=False)
    with serving(plane, options=options) as server, grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            health(channel)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection(server: GrpcServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= services
        assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= services
        for name in services:
            assert database.FindFileContainingSymbol(name) is not None


def test_streams_of_reflection_take_no_thread_from_requests(plane: Plane) -> None:
    with serving(plane, options=GrpcOptions(max_threads=1)) as server, grpc.insecure_channel(server.address) as channel:
        ended = threading.Event()

        def requests() -> Iterator[bytes]:
            ended.wait(20)
            yield from ()

        talk = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        streams = [talk(requests()) for _ in range(4)]
        assert threes(PredictionServiceStub(channel).Predict(ONES, timeout=10))
        ended.set()
        assert [list(stream) for stream in streams] == [[]] * 4


def test_channel_arguments() -> None:
    assert parse_channel_arguments("") == ()
    assert parse_channel_arguments("grpc.a=1,grpc.b=x, grpc.c= -7 ,d=9999999999,e=f=g") == (
        ("grpc.a", 1),
        ("grpc.b", "x"),
        (" grpc.c", -7),
        ("d", "9999999999"),
        ("e", "f"),
    )
    for text in ("a", "=1", "a=1,,b=2"):
        with pytest.raises(UsageError, match="no key=value"):
            parse_channel_arguments(text)


def test_channel_arguments_reach_grpc(plane: Plane) -> None:
    arguments = parse_channel_arguments("grpc.max_receive_message_length=1000")
    with (
        serving(plane, options=GrpcOptions(channel_arguments=arguments)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = PredictionServiceStub(channel)
        assert refused(stub.Predict, predict("m", {"x": np.ones(1000)}))[0] == "RESOURCE_EXHAUSTED"


def test_what_is_under_way_ends_and_what_is_new_is_refused(tmp_path: Path) -> None:
    gate = threading.Event()
    with planes(tmp_path, lambda _: Multiplier(3, gate)) as plane:
        server = GrpcServer(plane, port=0)
        server.start()
        with grpc.insecure_channel(server.address) as channel:
            stub = PredictionServiceStub(channel)
            running = stub.Predict.future(ONES)
            while not plane.models["m"].snapshot.servables[1]._users:
                time.sleep(0.01)
            stopped = server.stop(10)
            assert refused(stub.Predict, ONES, timeout=5)[0] == "UNAVAILABLE"
            assert not stopped.wait(0.2)
            gate.set()
            assert threes(running.result(10)) and stopped.wait(10)


def test_a_run_that_does_not_end_is_not_waited_for(tmp_path: Path) -> None:
    gate = threading.Event()
    with planes(tmp_path, lambda _: Multiplier(3, gate)) as plane:
        server = GrpcServer(plane, port=0)
        server.start()
        with grpc.insecure_channel(server.address) as channel:
            running = PredictionServiceStub(channel).Predict.future(ONES)
            while not plane.models["m"].snapshot.servables[1]._users:
                time.sleep(0.01)
            assert server.stop(0.2).wait(10)
            with pytest.raises(grpc.RpcError):
                running.result(10)
        gate.set()


# -- hostile clients ------------------------------------------------------------------------------------------------


def hostile_bodies() -> Iterator[bytes]:
    dice = random.Random(0)
    good = ONES.SerializeToString()
    for _ in range(150):
        yield dice.randbytes(dice.randrange(1, 200))
    for _ in range(300):
        changed = bytearray(good)
        for _ in range(dice.randrange(1, 4)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        yield bytes(changed[: dice.randrange(1, len(changed) + 1)])
    # Groups and messages nested a hundred thousand times, lengths beyond the end, wrong wire types.
    yield b"\x0b" * 100_000
    nested = b""
    for _ in range(20_000):
        nested = (
            b"\x0a" + bytes([len(nested) & 0x7F | 0x80, len(nested) >> 7 & 0x7F | 0x80, len(nested) >> 14]) + nested
        )
    yield nested
    yield b"\x0a\xff\xff\xff\xff\x0f"
    yield b"\x08\x01\x10\x02\x1d1234"
    yield b"\xff" * 1000


METHODS = ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")
CODES = {"INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"}


def test_malformed_requests_are_refused_one_by_one(
    server: GrpcServer, stub: PredictionServiceStub, caplog: pytest.LogCaptureFixture
) -> None:
    answers: dict[str, int] = {}
    with grpc.insecure_channel(server.address) as channel:
        calls = [channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}") for method in METHODS]
        calls.append(channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus"))
        calls.append(channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest"))
        for index, body in enumerate(hostile_bodies()):
            try:
                calls[index % len(calls)](body, timeout=20)
                name = "OK"
            except grpc.RpcError as error:
                name = error.code().name
                assert error.details() and "\n" not in error.details()[:40]
            answers[name] = answers.get(name, 0) + 1
    assert answers.keys() <= CODES | {"OK"} and {"INTERNAL", "INVALID_ARGUMENT"} <= answers.keys()
    assert not caplog.records, "none of them is a surprise"
    assert threes(stub.Predict(ONES))


def test_an_empty_message_and_one_that_is_no_message(server: GrpcServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        assert refused(call, b"") == ("INVALID_ARGUMENT", "Missing ModelSpec")
        assert refused(call, b"\xff") == ("INTERNAL", "The request is no message of this call")
        other = channel.unary_unary("/tensorflow.serving.PredictionService/SessionRun")
        assert refused(other, b"")[0] == "UNIMPLEMENTED"


def test_clients_that_break_off(server: GrpcServer, stub: PredictionServiceStub) -> None:
    host, _, port = str(server.address).rpartition(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for sent in (b"", b"GET / HTTP/1.1\r\n\r\n", preface[:10], preface + b"\0" * 9, preface + b"\xff" * 4000):
        for _ in range(5):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(sent)
    for _ in range(20):
        stub.Predict.future(ONES).cancel()
    assert threes(stub.Predict(ONES, timeout=10))
