"""Signatures that older converters left in a .tflite file's metadata, before the format had any.

TensorFlow Serving reads them. Source: tensorflow/lite/tools/signature/signature_def_util.cc (a FlexBuffer: by key a
serialized SignatureDef).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ai_edge_litert.schema_py_generated import Model as File
from flatbuffers import flexbuffers
from google.protobuf.message import DecodeError

from tfopt.errors import InvalidModel
from tfopt.formats.serving.tensorflow_messages import SignatureDef

_NAME: Final = b"signature_defs_metadata"
#: How flatbuffers' reader fails on bytes that are none.
_BROKEN: Final = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, struct.error, DecodeError)


@dataclass(frozen=True)
class NamedTensors:
    """One signature: what its inputs and outputs are called, and the tensors that they are."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    method_name: str


def metadata_signatures(content: bytes, where: str) -> dict[str, NamedTensors]:
    """By key; none when the file has no such metadata. Raises InvalidModel for what cannot be read."""
    model = File.GetRootAs(content)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == _NAME:
            try:
                return _read(bytes(model.Buffers(entry.Buffer()).DataAsNumpy()))
            except _BROKEN as error:
                raise InvalidModel("the signatures in its metadata cannot be read", where=where) from error
    return {}


def _read(buffer: bytes) -> dict[str, NamedTensors]:
    entries = flexbuffers.GetRoot(buffer).AsMap
    found = {}
    for key, value in zip(entries.Keys, entries.Values, strict=True):
        message = SignatureDef.FromString(bytes(value.AsBlob if value.IsBlob else value.AsStringBytes))
        inputs = {name: info.name.removesuffix(":0") for name, info in message.inputs.items()}
        outputs = {name: info.name.removesuffix(":0") for name, info in message.outputs.items()}
        found[key.AsKey] = NamedTensors(inputs, outputs, message.method_name)
    return found
