"""HandleReloadConfigRequest over a socket: other models, while the server runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

import tfopt
from tests.serve.asking import ROW
from tests.serve.conftest import Publish
from tests.serve.rpc.conftest import refused
from tests.serve.rpc.requests import predict
from tfopt.serve.plane import Plane
from tfopt.serve.rpc.server import GrpcServer


@pytest.fixture
def served(own_base: Path, publish: Publish) -> Iterator[tfopt.Server]:
    publish(1)
    with tfopt.Server(own_base, port=0, grpc_port=0, poll_interval=0.05) as running:
        yield running


def reload(*models: tuple[str, str], metrics: tuple[str, ...] = ()) -> ReloadConfigRequest:
    request = ReloadConfigRequest(metric_names=metrics)
    request.config.model_config_list.SetInParent()
    for name, path in models:
        request.config.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    return request


def test_other_models_are_served_when_the_call_comes_back(served: tfopt.Server, own_base: Path) -> None:
    loads = "/tensorflow/cc/saved_model/load_attempt_count"
    with grpc.insecure_channel(served.grpc_address) as channel:
        models, predictions = ModelServiceStub(channel), PredictionServiceStub(channel)
        path = str(own_base)
        answer = models.HandleReloadConfigRequest(reload(("m", path), ("n", path), metrics=(loads, "none")), timeout=20)
        assert (answer.status.error_code, answer.status.error_message) == (0, "")
        assert {metric.name: metric.int64_value_increase for metric in answer.metric} == {loads: 1, "none": 0}
        assert {predictions.Predict(predict(name, {"x": ROW})).model_spec.name for name in "mn"} == {"m", "n"}
        models.HandleReloadConfigRequest(reload(("n", path)), timeout=20)
        assert refused(predictions.Predict, predict("m", {"x": ROW}))[0] == "NOT_FOUND"


def test_a_config_that_is_refused_changes_nothing(served: tfopt.Server, own_base: Path) -> None:
    with grpc.insecure_channel(served.grpc_address) as channel:
        models, predictions = ModelServiceStub(channel), PredictionServiceStub(channel)
        for request, words in (
            (ReloadConfigRequest(), "Only ModelConfigList is currently supported"),
            (reload(("n", "relative")), "Expected model n to have an absolute path or URI; got base_path()=relative"),
            (reload(("n", str(own_base)), ("n", str(own_base))), "Illegal to list model n multiple times"),
        ):
            code, text = refused(models.HandleReloadConfigRequest, request)
            assert code == "INVALID_ARGUMENT" and words in text
        assert predictions.Predict(predict("m", {"x": ROW})).model_spec.version.value == 1


def test_a_server_whose_models_are_not_to_be_changed() -> None:
    server = GrpcServer(Plane({}), port=0)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        assert refused(ModelServiceStub(channel).HandleReloadConfigRequest, reload())[0] == "UNIMPLEMENTED"
    server.stop(0).wait(10)
