"""The Open Inference Protocol, version 2 (KServe; Triton's binary tensor data extension), over the same models.

Sources: https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md), Triton's
extension_binary_data. The protocol knows no signatures: a request names one in its `parameters`, as `signature_name`,
and without it means the default one, or the only one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import tfopt
from tfopt.errors import Code, RequestError, nearest
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.runtimes.base import SignatureInfo, TensorInfo
from tfopt.serve import inference
from tfopt.serve.plane import ModelSpec, Plane
from tfopt.serve.rest.messages import Answer, Request
from tfopt.serve.rest.oip.dtypes import name_of
from tfopt.serve.rest.oip.infer import InferBody, infer_answer
from tfopt.serve.versions.statuses import State

EXTENSIONS = ("binary_tensor_data",)
#: Triton's names for kinds of models, where it has one.
_PLATFORMS = {"saved_model": "tensorflow_savedmodel", "graph_def": "tensorflow_graphdef", "onnx": "onnx_onnxv1"}


def live(plane: Plane, request: Request) -> Answer:
    return _answer({"live": True})


def ready(plane: Plane, request: Request) -> Answer:
    is_ready = plane.is_ready()
    return _answer({"ready": is_ready}, Code.OK if is_ready else Code.UNAVAILABLE)


def server_metadata(plane: Plane, request: Request) -> Answer:
    return _answer({"name": "tfopt", "version": tfopt.__version__, "extensions": list(EXTENSIONS)})


def model_ready(plane: Plane, request: Request) -> Answer:
    """Raises RequestError when it is not."""
    with plane.servable(request.route.spec):
        return _answer({"name": request.route.spec.name, "ready": True})


def model_metadata(plane: Plane, request: Request) -> Answer:
    """Raises RequestError."""
    spec = request.route.spec
    asked = parse_qs(request.route.query).get("signature_name", [None])[0]
    with plane.servable(spec) as servable:
        key, info = _signature(servable.signatures, asked)
        platform = _PLATFORMS.get(servable.kind, servable.kind)
        others = sorted(servable.signatures)
    return _answer(
        {
            "name": spec.name,
            "versions": _available(plane, spec),
            "platform": platform,
            "inputs": [_tensor(name, tensor) for name, tensor in info.inputs.items()],
            "outputs": [_tensor(name, tensor) for name, tensor in info.outputs.items()],
            "parameters": {"signature_name": key, "signatures": ",".join(others)},
        }
    )


def infer(plane: Plane, request: Request) -> Answer:
    """Raises RequestError, ExecutionError."""
    spec, body = request.route.spec, InferBody(request)
    with plane.servable(spec) as servable:
        key, info = _signature(servable.signatures, body.signature)
        request.seen.version, request.seen.signature = servable.number, key
        inputs, wanted = body.arrays(info.inputs), body.wanted(info.outputs)
        names = [output.name for output in wanted]
        check = plane.check_method_names
        outputs = inference.predict(
            servable, key, inputs, outputs=names, timeout=request.timeout, check_method_name=check
        )
        number = servable.number
    return infer_answer(spec.name, number, body, wanted, outputs)


def _answer(message: Mapping[str, Any], code: Code = Code.OK) -> Answer:
    return Answer(json.dumps(message).encode(), code)


def _signature(signatures: Mapping[str, SignatureInfo], asked: str | None) -> tuple[str, SignatureInfo]:
    key = asked or (next(iter(signatures)) if len(signatures) == 1 else DEFAULT_SIGNATURE)
    if key not in signatures:
        hint = nearest(key, signatures) if asked else f"name one in parameters: {', '.join(sorted(signatures))}"
        raise RequestError(f"the model has no signature {key}", code=Code.NOT_FOUND, hint=hint)
    return key, signatures[key]


def _available(plane: Plane, spec: ModelSpec) -> list[str]:
    statuses = plane.statuses(ModelSpec(spec.name))
    return [str(status.number) for status in reversed(statuses) if status.state is State.AVAILABLE]


def _tensor(name: str, info: TensorInfo) -> dict[str, Any]:
    """A tensor of unknown rank is told as one of a single unknown size: the protocol has no word for it."""
    dims = (None,) if info.type.shape.dims is None else info.type.shape.dims
    return {"name": name, "datatype": name_of(info.type.dtype), "shape": [-1 if dim is None else dim for dim in dims]}
