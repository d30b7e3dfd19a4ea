"""Can TensorFlow's integer kernels be trusted here?

They are oneDNN's. A TensorFlow without it has none, and a processor without VNNI adds two products of 8-bit numbers in
16 bits, where large ones end: answers are then wrong by some percent, without a word. So it is tried out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from tfopt.formats.tensorflow import tf  # isort: split

import numpy as np
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tfopt.errors import UnmetRequirement
from tfopt.requirements import ONEDNN, VNNI

Products: TypeAlias = Literal["exact", "saturating", "missing"]

_OPS: Final = frozenset({"_FusedQuantizedConv2D", "_FusedQuantizedDepthwiseConv2D", "_QuantizedMatMul"})
#: Two products of such a weight and 255 fit into 16 bits.
_SAFE: Final = 63
_INNER: Final = 64


def integer_requirements(nodes: Iterable[Any]) -> tuple[str, ...]:
    """What nodes of a GraphDef require of the machine; nothing when none of them computes on integers."""
    held = list(nodes)
    if not any(node.op in _OPS for node in held):
        return ()
    return (ONEDNN, VNNI) if any(map(_is_wide_filter, held)) else (ONEDNN,)


def check_integer_kernels(requires: Collection[str], where: str) -> None:
    """Raises UnmetRequirement when this machine has not what a graph requires (`integer_requirements`)."""
    if not requires:
        return
    found = integer_products()
    if found == "missing":
        raise UnmetRequirement(
            "the model computes on integers, and this TensorFlow has no kernels for that",
            where=where,
            hint="they are oneDNN's, in builds for x86: run its model.tflite here, or the float model",
        )
    if found == "saturating" and VNNI in requires:
        raise UnmetRequirement(
            "the model has 8-bit weights, and this processor's 8-bit products saturate: answers would be wrong",
            where=where,
            hint="run it where there is VNNI, run its model.tflite, or compress it with --reduce-range (7-bit weights)",
        )


@cache
def integer_products() -> Products:
    """What becomes of 64 products of 255 and 127 here."""
    graph = tf.Graph()
    with graph.as_default():
        product = _product(graph)
        with tf.compat.v1.Session(graph=graph) as session:
            try:
                levels = session.run(product)
            except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
                return "missing"
    # The output's range ends at the true sum, which is level 255.
    return "exact" if int(np.asarray(levels).astype(np.int32).max()) == 255 else "saturating"


def _product(graph: Any) -> Any:
    data = _constant(graph, np.full((1, 1, 1, _INNER), 255, np.uint8), tf.quint8)
    weights = _constant(graph, np.full((1, 1, _INNER, 1), 127, np.int8), tf.qint8)
    total = np.float32(255 * 127 * _INNER)
    ends = [np.float32(0), np.float32(255), [-127.0], [127.0], np.float32(0), total]
    inputs = [data, weights, tf.constant([0.0]), *map(tf.constant, ends)]
    outputs = [tf.quint8, tf.float32, tf.float32]
    return graph.create_op("_FusedQuantizedConv2D", inputs, outputs, name="product", attrs=_attrs()).outputs[0]


def _attrs() -> dict[str, Any]:
    def types(*dtypes: Any) -> Any:
        return AttrValue(list=AttrValue.ListValue(type=[dtype.as_datatype_enum for dtype in dtypes]))

    stages = AttrValue(list=AttrValue.ListValue(s=[b"BiasAdd", b"Relu", b"Requantize"]))
    return {
        "Tinput": _type(tf.quint8),
        "Tfilter": _type(tf.qint8),
        "Tbias": _type(tf.float32),
        "Tsummand": _type(tf.quint8),
        "out_type": _type(tf.quint8),
        "Tdevice_inputs": types(tf.quint8, tf.qint8, tf.float32),
        "Thost_inputs": types(*[tf.float32] * 6),
        "Tdevice_outputs": types(tf.quint8),
        "Thost_outputs": types(tf.float32, tf.float32),
        "strides": AttrValue(list=AttrValue.ListValue(i=[1, 1, 1, 1])),
        "padding": AttrValue(s=b"VALID"),
        "fused_ops": stages,
    }


def _type(dtype: Any) -> Any:
    return AttrValue(type=dtype.as_datatype_enum)


def _constant(graph: Any, array: Any, dtype: Any) -> Any:
    proto = TensorProto(dtype=dtype.as_datatype_enum, tensor_content=array.tobytes())
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    attrs = {"value": AttrValue(tensor=proto), "dtype": AttrValue(type=dtype.as_datatype_enum)}
    return graph.create_op("Const", [], [dtype], attrs=attrs, name="levels").outputs[0]


def _is_wide_filter(node: Any) -> bool:
    if node.op != "Const" or node.attr["dtype"].type != tf.qint8.as_datatype_enum:
        return False
    tensor = node.attr["value"].tensor
    content = np.frombuffer(tensor.tensor_content, np.int8).astype(np.int16)
    levels = content if content.size else np.array(tensor.int_val, np.int16)
    # Even ones are of 7 bits: doubled, since they are halved for want of VNNI where the data is signed.
    return bool(np.abs(levels).max(initial=0) > _SAFE and (levels % 2).any())
