"""Protobuf messages declared in Python, in a descriptor pool of their own: no TensorFlow, and no quarrel with it when
both declare messages of one name in one process. Only the fields that are used are declared; protobuf carries the rest
as unknown ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64, "float": _Field.TYPE_FLOAT, "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL, "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES,
}  # fmt: skip


class Schema:
    """The messages of one package.

    `messages` maps a message to its fields, each `[repeated] type name number [oneof]`; an enum is read as the int32
    it is on the wire. `nested` maps each message that is declared inside another one to it: the wire does not show it,
    but the entry of a map must be so.
    """

    def __init__(
        self, file: str, package: str, messages: Mapping[str, Sequence[str]], nested: Mapping[str, str]
    ) -> None:
        self._package = package
        self._nested = nested
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
        self._pool.AddSerializedFile(self._declared(file, messages).SerializeToString())

    def message(self, name: str) -> Any:
        """The class of a message that is not nested."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{self._package}.{name}"))

    def _declared(self, name: str, messages: Mapping[str, Sequence[str]]) -> descriptor_pb2.FileDescriptorProto:
        file = descriptor_pb2.FileDescriptorProto(name=name, package=self._package, syntax="proto3")
        file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
        outer = {name: file.message_type.add(name=name) for name in messages if name not in self._nested}
        for name, fields in messages.items():
            message = outer[self._nested[name]].nested_type.add(name=name) if name in self._nested else outer[name]
            message.options.map_entry = name in self._nested
            for line in fields:
                self._add_field(message, line)
        return file

    def _add_field(self, message: descriptor_pb2.DescriptorProto, line: str) -> None:
        label, *words = line.split() if line.startswith("repeated") else ["optional", *line.split()]
        kind, name, number, *oneof = words
        field = message.field.add(name=name, number=int(number))
        field.label = _Field.LABEL_REPEATED if label == "repeated" else _Field.LABEL_OPTIONAL
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type = _Field.TYPE_MESSAGE
            field.type_name = self._full_name(kind)
        if oneof:
            names = [declared.name for declared in message.oneof_decl]
            if oneof[0] not in names:
                message.oneof_decl.add(name=oneof[0])
                names.append(oneof[0])
            field.oneof_index = names.index(oneof[0])

    def _full_name(self, name: str) -> str:
        if "." in name:
            return f".{name}"
        return "." + ".".join(filter(None, (self._package, self._nested.get(name), name)))
