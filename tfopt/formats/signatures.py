"""SignatureDefs as plain values.

Source: tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.node_def import value_from_ref
from tfopt.formats.protos import MetaGraphDef, SignatureDef, TensorInfo
from tfopt.formats.tensor_proto import dtype_from_enum, shape_from_proto, tensor_from_proto
from tfopt.ir.graph import DEFAULT_SIGNATURE, Value
from tfopt.ir.types import Tensor, TensorType

INIT = "__saved_model_init_op"
_NOT_SERVED = (INIT, "__saved_model_train_op")


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


def signature_specs(meta_graph: MetaGraphDef, origin: str) -> tuple[SignatureSpec, ...]:
    """What is served, `serving_default` first and the rest by name; inputs and outputs by name.

    Raises UnsupportedModel for sparse and composite tensors, InvalidModel when there is nothing to serve.
    """
    keys = [key for key in meta_graph.signature_def if key not in _NOT_SERVED]
    if not keys:
        hint = "save it with tf.saved_model.save(..., signatures=...) or Keras' model.export"
        raise InvalidModel("has no signature, so there is nothing to serve", where=origin, hint=hint)
    ordered = sorted(keys, key=lambda key: (key != DEFAULT_SIGNATURE, key))
    return tuple(_spec(key, meta_graph.signature_def[key], origin) for key in ordered)


def _spec(key: str, proto: SignatureDef, origin: str) -> SignatureSpec:
    where = f"{origin}: signature {key}"
    if not proto.outputs:
        raise InvalidModel("has no outputs", where=where)
    return SignatureSpec(
        key,
        {name: _entry(proto.inputs[name], f"{where}, input {name}") for name in sorted(proto.inputs)},
        {name: _entry(proto.outputs[name], f"{where}, output {name}") for name in sorted(proto.outputs)},
        proto.method_name,
        {name: tensor_from_proto(proto.defaults[name], where) for name in sorted(proto.defaults)},
    )


def _entry(info: TensorInfo, where: str) -> Entry:
    encoding = info.WhichOneof("encoding")
    if encoding in ("coo_sparse", "composite_tensor"):
        what = "is a sparse tensor" if encoding == "coo_sparse" else "is a composite tensor"
        raise UnsupportedModel(f"{what}, which is not carried yet", where=where, hint="export a dense tensor")
    return Entry(
        value_from_ref(info.name), TensorType(dtype_from_enum(info.dtype, where), shape_from_proto(info.tensor_shape))
    )
