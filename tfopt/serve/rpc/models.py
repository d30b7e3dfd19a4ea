"""ModelService, from the bytes of a request to those of its answer. Source: model_servers/get_model_status_impl.cc."""

from __future__ import annotations

from tfopt.formats.serving.api import GetModelStatusRequest, GetModelStatusResponse
from tfopt.serve.plane import ModelSpec, Plane
from tfopt.serve.rpc.specs import parse, spec_of


class ModelCalls:
    """The calls by name, as `prediction.PredictionCalls` has them."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.methods = {"GetModelStatus": self.get_model_status}

    def get_model_status(self, body: bytes, timeout: float | None) -> bytes:
        spec = spec_of(parse(GetModelStatusRequest, body))
        number = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
        answer = GetModelStatusResponse()
        for status in self._plane.statuses(ModelSpec(spec.name, number)):
            entry = answer.model_version_status.add(version=status.number, state=status.state.value)
            entry.status.error_code = status.code.value
            entry.status.error_message = status.message
        serialized: bytes = answer.SerializeToString()
        return serialized
