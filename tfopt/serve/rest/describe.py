"""Status, metadata and errors in the JSON text that TensorFlow Serving's REST interface prints.

Sources: model_servers/http_rest_api_util.cc (metadata is put together from two protos' JSON, 64-bit integers are
strings, fields with default values are printed) and util/json_tensor.cc (errors).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tfopt.formats.serving.tensorflow_messages import data_type_name
from tfopt.ir import Shape
from tfopt.runtimes.base import SignatureInfo, TensorInfo
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.statuses import VersionStatus


def error_text(message: str) -> bytes:
    # Bytes of the request that are no UTF-8 are echoed as question marks, so that the error can be read.
    return json.dumps({"error": message}, indent=4, ensure_ascii=False).encode("utf-8", "replace")


def status_text(statuses: Iterable[VersionStatus]) -> bytes:
    entries = [
        {
            "version": str(status.number),
            "state": status.state.value,
            "status": {"error_code": status.code.value, "error_message": status.message},
        }
        for status in statuses
    ]
    return _proto_text({"model_version_status": entries}).encode()


def metadata_text(name: str, number: int, signatures: Mapping[str, SignatureInfo]) -> bytes:
    spec = _proto_text({"name": name, "signature_name": "", "version": str(number)})
    entries = {key: _signature(info) for key, info in sorted(signatures.items())}
    return (
        f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {_proto_text({"signature_def": entries})}}}\n}}\n'
    ).encode()


def _proto_text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, indent=1, ensure_ascii=False) + "\n"


def _signature(info: SignatureInfo) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor_info(tensor) for name, tensor in info.inputs.items()},
        "outputs": {name: _tensor_info(tensor) for name, tensor in info.outputs.items()},
        "method_name": info.method_name,
        "defaults": {},
    }


def _tensor_info(info: TensorInfo) -> dict[str, Any]:
    return {"dtype": data_type_name(info.type.dtype), "tensor_shape": _shape(info.type.shape), "name": info.name}


def _shape(shape: Shape) -> dict[str, Any]:
    dims = [{"size": str(-1 if dim is None else dim), "name": ""} for dim in shape.dims or ()]
    return {"dim": dims, "unknown_rank": shape.dims is None}


def models_text(models: Mapping[str, ModelVersions]) -> bytes:
    """Our own list of models, which TensorFlow Serving lacks: what is served, by which runtime, and what is wrong."""
    return json.dumps({"models": [_model(model) for _, model in sorted(models.items())]}, indent=2).encode()


def _model(model: ModelVersions) -> dict[str, Any]:
    snapshot = model.snapshot
    return {
        "name": model.name,
        "path": str(model.source.path),
        "serving": snapshot.latest,
        "labels": dict(snapshot.labels),
        "problem": None if model.problem is None else str(model.problem),
        "versions": [_version(status) for status in model.statuses.newest_first()],
    }


def _version(status: VersionStatus) -> dict[str, Any]:
    failed = {"error": status.message} if status.message else {}
    served = {"artifact": status.kind} if status.kind else {}
    unmet = {"unmet": dict(status.unmet)} if status.unmet else {}
    return {"version": status.number, "state": status.state.value, **served, **unmet, **failed}
