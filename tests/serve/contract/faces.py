"""The two faces of a server behind one way to ask, for what is promised of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from tests.serve.conftest import Reply, ask_at
from tests.serve.rpc import requests
from tfopt.errors import Code
from tfopt.serve.rest.messages import HTTP_STATUS

Classes = list[list[tuple[str, float]]]


class Refused(Exception):
    """`status` is the code as the face has it: gRPC's name, or HTTP's number."""

    def __init__(self, status: str | int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(f"{status}: {text}")


class Face(ABC):
    """`spec`: `version`, `label`, `signature`. Every call raises Refused."""

    @abstractmethod
    def predict(self, model: str, inputs: Mapping[str, Any], **spec: Any) -> dict[str, NDArray[Any]]: ...

    @abstractmethod
    def regress(self, model: str, examples: Sequence[Mapping[str, float]], **spec: Any) -> list[float]: ...

    @abstractmethod
    def classify(self, model: str, examples: Sequence[Mapping[str, float]], **spec: Any) -> Classes: ...

    @abstractmethod
    def status(self, model: str, **spec: Any) -> list[tuple[int, str, str]]:
        """Version, state, error message of each."""

    @abstractmethod
    def metadata(self, model: str, **spec: Any) -> tuple[int, set[str]]:
        """The version and its signatures."""

    @abstractmethod
    def code(self, code: Code) -> str | int:
        """How this face says it."""


class Grpc(Face):
    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._predictions = PredictionServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def predict(self, model: str, inputs: Mapping[str, Any], **spec: Any) -> dict[str, NDArray[Any]]:
        answer = self._ask(self._predictions.Predict, requests.predict(model, dict(inputs), **spec))
        return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    def regress(self, model: str, examples: Sequence[Mapping[str, float]], **spec: Any) -> list[float]:
        request = requests.regress(model, **spec)
        request.input.example_list.examples.extend(requests.example(**features) for features in examples)
        return [one.value for one in self._ask(self._predictions.Regress, request).result.regressions]

    def classify(self, model: str, examples: Sequence[Mapping[str, float]], **spec: Any) -> Classes:
        request = requests.classify(model, **spec)
        request.input.example_list.examples.extend(requests.example(**features) for features in examples)
        found = self._ask(self._predictions.Classify, request).result.classifications
        return [[(one.label, one.score) for one in row.classes] for row in found]

    def status(self, model: str, **spec: Any) -> list[tuple[int, str, str]]:
        answer = self._ask(self._models.GetModelStatus, requests.status(model, **spec))
        return [
            (entry.version, entry.State.Name(entry.state), entry.status.error_message)
            for entry in answer.model_version_status
        ]

    def metadata(self, model: str, **spec: Any) -> tuple[int, set[str]]:
        request = requests.metadata(model, "signature_def", **spec)
        answer = self._ask(self._predictions.GetModelMetadata, request)
        found = SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return answer.model_spec.version.value, set(found.signature_def)

    def code(self, code: Code) -> str:
        return code.value

    def _ask(self, call: Any, request: Any) -> Any:
        try:
            return call(request, timeout=20)
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details()) from error


class Rest(Face):
    def __init__(self, url: str) -> None:
        self._url = url

    def predict(self, model: str, inputs: Mapping[str, Any], **spec: Any) -> dict[str, NDArray[Any]]:
        body = {"inputs": {name: np.asarray(value).tolist() for name, value in inputs.items()}}
        outputs = self._post(model, "predict", body, **spec)["outputs"]
        # One output comes without its name.
        found = outputs if isinstance(outputs, dict) else {"": outputs}
        return {name: np.asarray(value) for name, value in found.items()}

    def regress(self, model: str, examples: Sequence[Mapping[str, float]], **spec: Any) -> list[float]:
        results: list[float] = self._post(model, "regress", {"examples": examples}, **spec)["results"]
        return results

    def classify(self, model: str, examples: Sequence[Mapping[str, float]], **spec: Any) -> Classes:
        results = self._post(model, "classify", {"examples": examples}, **spec)["results"]
        return [[(label, score) for label, score in row] for row in results]

    def status(self, model: str, **spec: Any) -> list[tuple[int, str, str]]:
        return [
            (int(entry["version"]), entry["state"], entry["status"]["error_message"])
            for entry in self._get(_path(model, **spec))["model_version_status"]
        ]

    def metadata(self, model: str, **spec: Any) -> tuple[int, set[str]]:
        answer = self._get(_path(model, **spec) + "/metadata")
        return int(answer["model_spec"]["version"]), set(answer["metadata"]["signature_def"]["signature_def"])

    def code(self, code: Code) -> int:
        return HTTP_STATUS[code]

    def _post(self, model: str, verb: str, body: dict[str, Any], signature: str | None = None, **spec: Any) -> Any:
        named = {} if signature is None else {"signature_name": signature}
        return _content(ask_at(self._url, "POST", f"{_path(model, **spec)}:{verb}", {**named, **body}))

    def _get(self, path: str) -> Any:
        return _content(ask_at(self._url, "GET", path))


def _path(model: str, version: int | None = None, label: str | None = None) -> str:
    whom = "" if version is None else f"/versions/{version}"
    return f"/v1/models/{model}{whom}" + ("" if label is None else f"/labels/{label}")


def _content(reply: Reply) -> Any:
    if reply.status != 200:
        raise Refused(reply.status, reply.error)
    return reply.json
