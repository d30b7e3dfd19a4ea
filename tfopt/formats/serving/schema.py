"""Protobuf messages declared in Python, in a descriptor pool of their own: no TensorFlow, and no quarrel with it when
both declare messages of one name in one process. Fields that nobody here reads may be left out; protobuf carries them
as unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64, "float": _Field.TYPE_FLOAT, "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL, "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES,
}  # fmt: skip
_WELL_KNOWN: Final = (any_pb2, wrappers_pb2)

#: What all messages of the serving API and its settings are declared in.
POOL: Final[Any] = descriptor_pool.DescriptorPool()
for _known in _WELL_KNOWN:
    POOL.AddSerializedFile(_known.DESCRIPTOR.serialized_pb)

Methods = Mapping[str, tuple[str, str]]


class Schema:
    """One file of messages of one package, in the pool.

    `messages` maps a message to its fields, each `[repeated] type name number [oneof]` or
    `map<key,type> name number`. A name with a dot is declared inside another message. `enums` maps an enum to its
    names and numbers, `services` a service to its methods, each with the messages that it takes and gives. Types of
    another package are written with it (`tensorflow.TensorProto`), and their schema stands in `imports`.
    """

    def __init__(
        self,
        file: str,
        package: str,
        messages: Mapping[str, Sequence[str]],
        *,
        enums: Mapping[str, Mapping[str, int]] | None = None,
        services: Mapping[str, Methods] | None = None,
        imports: Sequence[Schema] = (),
    ) -> None:
        self.file = file
        self._package = package
        self._enums: dict[str, str] = {f"{package}.{name}": name for name in enums or {}}
        for other in imports:
            self._enums |= other._enums
        declared = descriptor_pb2.FileDescriptorProto(name=file, package=package, syntax="proto3")
        declared.dependency.extend(known.DESCRIPTOR.name for known in _WELL_KNOWN)
        declared.dependency.extend(other.file for other in imports)
        self._declare(declared, messages, enums or {})
        for name, methods in (services or {}).items():
            service = declared.service.add(name=name)
            for method, (takes, gives) in methods.items():
                service.method.add(name=method, input_type=self._full_name(takes), output_type=self._full_name(gives))
        POOL.AddSerializedFile(declared.SerializeToString())

    def message(self, name: str) -> Any:
        """The class of a message. Made at run time, so that no type checker knows its fields."""
        return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{self._package}.{name}"))

    def _declare(
        self, file: Any, messages: Mapping[str, Sequence[str]], enums: Mapping[str, Mapping[str, int]]
    ) -> None:
        made: dict[str, Any] = {}
        for name, fields in messages.items():
            outer, _, own = name.rpartition(".")
            made[name] = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
            for line in fields:
                self._add_field(made[name], name, line)
        for name, numbers in enums.items():
            outer, _, own = name.rpartition(".")
            enum = made[outer].enum_type.add(name=own) if outer else file.enum_type.add(name=own)
            for value, number in numbers.items():
                enum.value.add(name=value, number=number)

    def _add_field(self, message: Any, path: str, line: str) -> None:
        if line.startswith("map<"):
            types, name, number = line.removeprefix("map<").replace("> ", " ").rsplit(" ", 2)
            line = f"repeated {self._entry(message, path, name, types.split(','))} {name} {number}"
        words = line.split()
        repeated = words[0] == "repeated"
        kind, name, number, *oneof = words[repeated:]
        field = message.field.add(name=name, number=int(number), json_name=name)
        field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type_name = self._full_name(kind)
            field.type = _Field.TYPE_ENUM if field.type_name[1:] in self._enums else _Field.TYPE_MESSAGE
        if oneof:
            field.oneof_index = _oneof(message, oneof[0])

    def _entry(self, message: Any, path: str, name: str, types: Iterable[str]) -> str:
        """Declares the message that one entry of a map is on the wire."""
        own = "".join(word.capitalize() for word in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=own)
        entry.options.map_entry = True
        for number, (part, kind) in enumerate(zip(("key", "value"), types, strict=True), 1):
            self._add_field(entry, f"{path}.{own}", f"{kind.strip()} {part} {number}")
        return f"{self._package}.{path}.{own}"

    def _full_name(self, name: str) -> str:
        """Names of other packages, and of what is inside a message of this one, begin in lower case or with it."""
        return f".{name}" if name[0].islower() else f".{self._package}.{name}"


def _oneof(message: Any, name: str) -> int:
    names = [declared.name for declared in message.oneof_decl]
    if name not in names:
        message.oneof_decl.add(name=name)
        names.append(name)
    return names.index(name)
