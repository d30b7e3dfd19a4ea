"""One node between the graph and NodeDef: attributes and edges.

Attributes that a NodeDef leaves out have the default of TensorFlow's op registry. They are filled in on the way in, so
that a pass sees `is_training: true` where it holds, and left out on the way out, as TensorFlow's own writer does, so
that older versions can read the result.
Source: tensorflow/core/framework/node_def.proto, attr_value.proto, op_def.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from tfopt.errors import InvalidModel
from tfopt.formats.protos import AttrValue as AttrProto
from tfopt.formats.protos import NameAttrList, NodeDef, OpDef, op_def_registry
from tfopt.formats.tensor_proto import (
    dtype_from_enum,
    dtype_to_enum,
    shape_from_proto,
    shape_to_proto,
    tensor_from_proto,
    tensor_to_proto,
)
from tfopt.ir.graph import AttrScalar, AttrValue, FunctionRef, Node, Value
from tfopt.ir.types import DType, Shape, Tensor

_LIST_FIELDS = ("s", "i", "f", "b", "type", "shape", "tensor", "func")


@cache
def op_def(name: str) -> OpDef | None:
    """What TensorFlow knows of an op; None when it knows none of that name."""
    return op_def_registry.get(name)


@cache
def _op_attrs(name: str) -> Mapping[str, OpDef.AttrDef]:
    definition = op_def(name)
    return {} if definition is None else {attr.name: attr for attr in definition.attr}


def attrs_from_node_def(node: NodeDef) -> dict[str, AttrValue]:
    """All attributes of a node, the registry's defaults included.

    Hints to the runtime that wrote or ran it (`_class`, `_output_shapes`) are left behind.
    Raises InvalidModel and UnsupportedModel for what `AttrValue` cannot hold.
    """
    known = _op_attrs(node.op)
    found = {name: _default(node.op, name) for name, attr in known.items() if attr.HasField("default_value")}
    for name in sorted(node.attr):
        if name.startswith("_"):
            continue
        declared = known[name].type if name in known else ""
        found[name] = attr_from_proto(node.attr[name], declared, f"{node.name} ({node.op})")
    if node.op == "Const":
        _check_const(found, node.name)
    return found


def _check_const(attrs: Mapping[str, AttrValue], where: str) -> None:
    value = attrs.get("value")
    if not isinstance(value, Tensor) or attrs.get("dtype") is not value.dtype:
        raise InvalidModel("is a constant without a value of its type", where=where)


@cache
def _default(op: str, name: str) -> AttrValue:
    attr = _op_attrs(op)[name]
    return attr_from_proto(attr.default_value, attr.type, f"the op {op}")


def attr_from_proto(proto: AttrProto, declared: str = "", where: str | None = None) -> AttrValue:
    """`declared` is the type as OpDef writes it (`list(int)`); an empty list has no other mark in some files."""
    kind = proto.WhichOneof("value")
    if kind == "list" or (kind is None and declared.startswith("list(")):
        return tuple(
            _scalar_from_proto(field, item, where) for field in _LIST_FIELDS for item in getattr(proto.list, field)
        )
    if kind is None or kind == "placeholder":
        raise InvalidModel("has an attribute without a value", where=where)
    return _scalar_from_proto(kind, getattr(proto, kind), where)


def _scalar_from_proto(kind: str, value: Any, where: str | None) -> AttrScalar:
    if kind == "type":
        return dtype_from_enum(value, where)
    if kind == "shape":
        return shape_from_proto(value)
    if kind == "tensor":
        return tensor_from_proto(value, where)
    if kind == "func":
        return FunctionRef(value.name)
    scalar: bool | int | float | bytes = value
    return scalar


def attr_to_proto(value: AttrValue, declared: str = "") -> AttrProto:
    """`declared` is the type as OpDef writes it: an int that stands for a float is written as one."""
    proto = AttrProto()
    if isinstance(value, tuple):
        proto.list.SetInParent()
        for item in value:
            field, stored = _scalar_to_proto(item, declared.removeprefix("list(").removesuffix(")"))
            getattr(proto.list, field).append(stored)
        return proto
    field, stored = _scalar_to_proto(value, declared)
    if field in ("shape", "tensor", "func"):
        getattr(proto, field).CopyFrom(stored)
    else:
        setattr(proto, field, stored)
    return proto


def _scalar_to_proto(value: AttrScalar, declared: str) -> tuple[str, Any]:
    # DType is a str and bool an int, so the narrower type comes first.
    if isinstance(value, DType):
        return "type", dtype_to_enum(value)
    if isinstance(value, bool):
        return "b", value
    if isinstance(value, int):
        return ("f", float(value)) if declared == "float" else ("i", value)
    if isinstance(value, float):
        return "f", value
    if isinstance(value, bytes):
        return "s", value
    if isinstance(value, Shape):
        return "shape", shape_to_proto(value)
    if isinstance(value, Tensor):
        return "tensor", tensor_to_proto(value)
    if isinstance(value, FunctionRef):
        return "func", NameAttrList(name=value.name)
    raise TypeError("a function has no name here; formats/function_def.py gives it one")


def to_node_def(node: Node) -> NodeDef:
    """The node with the attributes that differ from the registry's defaults."""
    proto = NodeDef(name=node.name, op=node.op)
    proto.input.extend(f"{value.node}:{value.port}" if value.port else value.node for value in node.inputs)
    proto.input.extend(f"^{name}" for name in node.controls)
    known = _op_attrs(node.op)
    for name in sorted(node.attrs):
        declared = known.get(name)
        stored = attr_to_proto(node.attrs[name], declared.type if declared is not None else "")
        if declared is None or not declared.HasField("default_value") or declared.default_value != stored:
            proto.attr[name].CopyFrom(stored)
    return proto


def value_from_ref(reference: str) -> Value:
    """`node` or `node:port`, as GraphDef and SignatureDef write it. Raises InvalidModel for anything else."""
    name, _, port = reference.partition(":")
    if not name or not (port or "0").isdecimal():
        raise InvalidModel(f"{reference!r} names no tensor")
    return Value(name, int(port or 0))


def node_from_def(proto: NodeDef) -> Node:
    """The node without output types, which a NodeDef does not hold. Placement (`device`) is left behind."""
    return Node(
        proto.name,
        proto.op,
        tuple(value_from_ref(text) for text in proto.input if not text.startswith("^")),
        attrs_from_node_def(proto),
        (),
        tuple(text[1:] for text in proto.input if text.startswith("^")),
    )


def output_dtypes(node: Node) -> tuple[DType, ...]:
    """Element types of the outputs, as the op's definition gives them from the attributes.

    Empty for an op that TensorFlow does not know. Raises InvalidModel when an attribute that says it is missing.
    """
    definition = op_def(node.op)
    return () if definition is None else _dtypes(node, definition.output_arg)


def output_width(node: Node, arg: OpDef.ArgDef) -> int:
    """How many values one of the op's outputs is."""
    return len(_arg_dtypes(node, arg))


def check_arity(node: Node, where: str) -> None:
    """Raise InvalidModel when the node has more or fewer inputs than its op takes."""
    definition = op_def(node.op)
    if definition is not None and len(node.inputs) != (count := len(_dtypes(node, definition.input_arg))):
        raise InvalidModel(f"{node.op} takes {count} inputs, has {len(node.inputs)}", where=where)


def _dtypes(node: Node, args: Iterable[OpDef.ArgDef]) -> tuple[DType, ...]:
    return tuple(dtype for arg in args for dtype in _arg_dtypes(node, arg))


def _arg_dtypes(node: Node, arg: OpDef.ArgDef) -> tuple[DType, ...]:
    dtype = dtype_from_enum(arg.type, node.op) if arg.type else node.attrs.get(arg.type_list_attr or arg.type_attr)
    count = node.attrs.get(arg.number_attr) if arg.number_attr else 1
    if isinstance(dtype, tuple):
        return tuple(item for item in dtype if isinstance(item, DType))
    if not isinstance(dtype, DType) or not isinstance(count, int):
        raise InvalidModel(f"does not say what type {arg.name} has", where=f"{node.name} ({node.op})")
    return (dtype,) * count
