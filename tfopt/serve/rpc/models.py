"""ModelService, from the bytes of a request to those of its answer.

Source: model_servers/get_model_status_impl.cc, model_service_impl.cc.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from tfopt.errors import Code, RequestError
from tfopt.formats.serving.api import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from tfopt.serve.plane import ModelSpec, Plane
from tfopt.serve.rpc.specs import parse, spec_of
from tfopt.serve.settings.model_config import model_configs
from tfopt.serve.versions.config import ModelConfig

log = logging.getLogger("tfopt.serve")

#: Seconds that a reload may take when the client does not say.
_RELOAD_TIMEOUT = 600.0


class Reconfigure(Protocol):
    """Serve these models and no others; as `versions.registry.Models.reconfigure`."""

    def __call__(self, configs: list[ModelConfig], *, timeout: float) -> None: ...


class ModelCalls:
    """The calls by name, as `prediction.PredictionCalls` has them. Without `reconfigure` the models stay what they
    are."""

    def __init__(self, plane: Plane, reconfigure: Reconfigure | None = None) -> None:
        self._plane = plane
        self._reconfigure = reconfigure
        self.methods = {
            "GetModelStatus": self.get_model_status,
            "HandleReloadConfigRequest": self.handle_reload_config,
        }

    def get_model_status(self, body: bytes, timeout: float | None) -> bytes:
        spec = spec_of(parse(GetModelStatusRequest, body))
        number = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
        answer = GetModelStatusResponse()
        for status in self._plane.statuses(ModelSpec(spec.name, number)):
            entry = answer.model_version_status.add(version=status.number, state=status.state.value)
            entry.status.error_code = status.code.value
            entry.status.error_message = status.message
        return _serialized(answer)

    def handle_reload_config(self, body: bytes, timeout: float | None) -> bytes:
        """Comes back when what is new serves or cannot. The answer tells how much the metrics that are named grew."""
        request = parse(ReloadConfigRequest, body)
        if self._reconfigure is None:
            raise RequestError("this server's models are not to be changed", code=Code.UNIMPLEMENTED)
        if request.config.WhichOneof("config") != "model_config_list":
            raise RequestError(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        names = dict.fromkeys(request.metric_names)
        before = {name: self._plane.metrics.total(name) or 0 for name in names}
        configs = model_configs(request.config)
        log.info(
            "told to serve %s", ", ".join(f"{config.name} ({config.base_path})" for config in configs) or "nothing"
        )
        self._reconfigure(configs, timeout=_RELOAD_TIMEOUT if timeout is None else timeout)
        answer = ReloadConfigResponse()
        answer.status.SetInParent()
        for name in names:
            increase = (self._plane.metrics.total(name) or 0) - before[name]
            answer.metric.add(name=name, int64_value_increase=increase)
        return _serialized(answer)


def _serialized(message: Any) -> bytes:
    body: bytes = message.SerializeToString()
    return body
