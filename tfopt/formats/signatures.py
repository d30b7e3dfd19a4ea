"""SignatureDefs as plain values.

Source: tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.composites import composites, plain
from tfopt.formats.node_def import value_from_ref
from tfopt.formats.protos import MetaGraphDef, SignatureDef, TensorInfo
from tfopt.formats.tensor_proto import dtype_from_enum, shape_from_proto, tensor_from_proto
from tfopt.ir.graph import DEFAULT_SIGNATURE, Composite, Value
from tfopt.ir.types import DType, Tensor, TensorType

INIT = "__saved_model_init_op"
_NOT_SERVED = (INIT, "__saved_model_train_op")
_NOT_ARRAYS = (DType.RESOURCE, DType.VARIANT)


@dataclass(frozen=True, slots=True)
class Entry:
    """One input or output: a value of the MetaGraph's graph and the type that is promised."""

    value: Value
    type: TensorType


@dataclass(frozen=True, slots=True)
class SignatureSpec:
    key: str
    inputs: Mapping[str, Entry]
    outputs: Mapping[str, Entry]
    method_name: str
    defaults: Mapping[str, Tensor]
    composites: tuple[Composite, ...]


def signature_specs(meta_graph: MetaGraphDef, origin: str) -> tuple[SignatureSpec, ...]:
    """What is served, `serving_default` first and the rest by name; inputs and outputs by name.

    Sparse and ragged tensors are there as their parts. Raises UnsupportedModel for resources and variants,
    InvalidModel when there is nothing to serve.
    """
    keys = [key for key in meta_graph.signature_def if key not in _NOT_SERVED]
    if not keys:
        hint = "save it with tf.saved_model.save(..., signatures=...) or Keras' model.export"
        raise InvalidModel("has no signature, so there is nothing to serve", where=origin, hint=hint)
    ordered = sorted(keys, key=lambda key: (key != DEFAULT_SIGNATURE, key))
    return tuple(_spec(key, meta_graph.signature_def[key], origin) for key in ordered)


def _spec(key: str, proto: SignatureDef, origin: str) -> SignatureSpec:
    where = f"{origin}: signature {key}"
    return SignatureSpec(
        key,
        {name: _entry(info, f"{where}, input {name}") for name, info in plain(proto.inputs).items()},
        {name: _entry(info, f"{where}, output {name}") for name, info in plain(proto.outputs).items()},
        proto.method_name,
        {name: tensor_from_proto(proto.defaults[name], where) for name in sorted(proto.defaults)},
        composites(proto),
    )


def _entry(info: TensorInfo, where: str) -> Entry:
    dtype = dtype_from_enum(info.dtype, where)
    if dtype in _NOT_ARRAYS:
        hint = "export a signature of plain tensors"
        raise UnsupportedModel(f"is a {dtype}, which no caller can feed or fetch", where=where, hint=hint)
    return Entry(value_from_ref(info.name), TensorType(dtype, shape_from_proto(info.tensor_shape)))
