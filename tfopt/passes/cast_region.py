"""Compute some nodes of a graph in another floating-point type, with casts where they meet the rest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, TensorType, numpy_dtype


def cast_region(graph: Graph, names: Collection[str], dtype: DType) -> Graph:
    """Each of these nodes of float32 in `dtype`. A value is cast once, a constant is written in `dtype`; whoever reads
    a result without being one of them gets it in float32. No control edge may touch them."""
    walk = _Walk(graph, frozenset(names), dtype, Editor(graph))
    for node in graph.nodes:
        if node.name in walk.names:
            walk.change(node)
    return walk.editor.finish()


@dataclass
class _Walk:
    """`changed` holds the value in the other type by the one that it stands for."""

    graph: Graph
    names: frozenset[str]
    dtype: DType
    editor: Editor
    changed: dict[Value, Value] = field(default_factory=dict)

    def change(self, node: Node) -> None:
        inputs = [self._in(value) if self._is_float(value) else value for value in node.inputs]
        attrs = {key: self.dtype if attr is DType.FLOAT32 else attr for key, attr in node.attrs.items()}
        outputs = [replace(made, dtype=self.dtype) if made.dtype is DType.FLOAT32 else made for made in node.outputs]
        made = self.editor.add(node.op, f"{node.name}/{self.dtype}", inputs, outputs, attrs)
        for port in range(len(node.outputs)):
            self._out(node.value(port), made.value(port))

    def _in(self, value: Value) -> Value:
        if value not in self.changed:
            constant = self.graph.constant(value)
            name = f"{value.node}/{self.dtype}"
            if constant is None:
                self.changed[value] = self._cast(value, name, self.graph.type_of(value), self.dtype)
            else:
                array = constant.array.astype(numpy_dtype(self.dtype))
                self.changed[value] = self.editor.constant(name, array, self.dtype)
        return self.changed[value]

    def _out(self, value: Value, made: Value) -> None:
        type_ = self.graph.type_of(value)
        readers = self.graph.readers.get(value, ())
        is_read_outside = value in self.graph.output_set or any(reader.name not in self.names for reader in readers)
        if type_.dtype is not DType.FLOAT32:
            self.editor.redirect(value, made)
            return
        self.changed[value] = made
        if is_read_outside:
            here = replace(type_, dtype=self.dtype)
            self.editor.redirect(value, self._cast(made, f"{value.node}/float32", here, DType.FLOAT32))

    def _cast(self, value: Value, name: str, type_: TensorType, target: DType) -> Value:
        attrs: dict[str, AttrValue] = {"SrcT": type_.dtype, "DstT": target, "Truncate": False}
        return self.editor.add("Cast", name, [value], [replace(type_, dtype=target)], attrs).value()

    def _is_float(self, value: Value) -> bool:
        return self.graph.type_of(value).dtype is DType.FLOAT32
