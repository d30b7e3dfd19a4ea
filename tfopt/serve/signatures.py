"""Signatures as messages: what GetModelMetadata answers, and what some of TensorFlow Serving's errors show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfopt.formats.serving.api import SignatureDefMap
from tfopt.formats.serving.tensorflow_messages import DATA_TYPE_NUMBERS, SignatureDef
from tfopt.runtimes.base import SignatureInfo, TensorInfo


def signature_def(info: SignatureInfo) -> Any:
    """Without the defaults, which TensorFlow Serving has left out since its version 2.20."""
    message = SignatureDef(method_name=info.method_name)
    for tensors, infos in ((message.inputs, info.inputs), (message.outputs, info.outputs)):
        for name, tensor in infos.items():
            _fill(tensors[name], tensor)
    return message


def signature_def_map(signatures: Mapping[str, SignatureInfo]) -> Any:
    message = SignatureDefMap()
    for key, info in signatures.items():
        message.signature_def[key].CopyFrom(signature_def(info))
    return message


def _fill(message: Any, info: TensorInfo) -> None:
    message.name = info.name
    message.dtype = DATA_TYPE_NUMBERS[info.type.dtype]
    dims = info.type.shape.dims
    message.tensor_shape.unknown_rank = dims is None
    for dim in dims or ():
        message.tensor_shape.dim.add(size=-1 if dim is None else dim)
