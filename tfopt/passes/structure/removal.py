"""A graph without some of its channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.bodies import WHILES, map_bodies
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Shape, Tensor, TensorType
from tfopt.passes.structure.coupling import Coupling
from tfopt.passes.structure.ties import Labels
from tfopt.passes.structure.walk import Followed, Size


def without_units(coupling: Coupling, gone: NDArray[np.int64]) -> Graph:
    """The graph without these units: constants lose them, in functions too, and types and sizes say so. Of each group
    one must be left. Nothing makes up for what the units had added to those that read them. `Graph.kept` says which
    output channels of a layer are left, so that they can be held against those of the model before."""
    stays = ~np.isin(coupling.classes, gone)
    return _Removal(coupling, stays).graph(coupling.graph)


class _Removal:
    def __init__(self, coupling: Coupling, stays: NDArray[np.bool_]) -> None:
        self._coupling = coupling
        self._stays = stays
        self._done: dict[Graph, Graph] = {}

    def graph(self, graph: Graph) -> Graph:
        """Each function once."""
        if graph not in self._done:
            found = self._coupling.followed.get(graph)
            self._done[graph] = graph if found is None else self._shrunk(found)
        return self._done[graph]

    def _shrunk(self, found: Followed) -> Graph:
        editor = Editor(found.graph)
        sizes: dict[str, list[Size]] = {}
        for size in found.sizes:
            sizes.setdefault(size.node, []).append(size)
        for node in found.graph.nodes:
            made = map_bodies(node, lambda _, body: self.graph(body))
            if node.name in sizes:
                made = self._resized(editor, made, sizes[node.name])
            editor.update(self._with_types(found, made))
        shrunk = editor.finish()
        return shrunk if shrunk is found.graph else replace(shrunk, kept=self._kept(found.graph))

    def _kept(self, graph: Graph) -> Mapping[str, tuple[int, ...]]:
        kept = dict(graph.kept)
        for layer in self._coupling.layers:
            stays = (layer.made < 0) | self._stays[layer.made]
            if layer.graph is graph and not stays.all():
                before = kept.get(layer.name, range(len(stays)))
                kept[layer.name] = tuple(at for at, stay in zip(before, stays.tolist(), strict=True) if stay)
        return kept

    def _with_types(self, found: Followed, node: Node) -> Node:
        kinds = tuple(self._type(kind, found.labels.get(node.value(port))) for port, kind in enumerate(node.outputs))
        if kinds == node.outputs:
            return node
        made = replace(node, outputs=kinds)
        if node.op == "Const":
            return made.with_attrs(value=self._payload(node.tensor, found.labels[node.value()]))
        if "shape" in node.attrs and node.op == "Placeholder":
            return made.with_attrs(shape=kinds[0].shape)
        return made.with_attrs(output_shapes=tuple(k.shape for k in kinds)) if node.op in WHILES else made

    def _type(self, kind: TensorType, labels: Labels) -> TensorType:
        if labels is None or kind.shape.dims is None:
            return kind
        dims = tuple(
            dim if dim is None or axis is None else int(self._stays[axis].sum())
            for dim, axis in zip(kind.shape.dims, labels, strict=True)
        )
        return TensorType(kind.dtype, Shape(dims))

    def _payload(self, tensor: Tensor, labels: Labels) -> Tensor:
        array = tensor.array
        for axis, each in enumerate(labels or ()):
            if each is not None and not self._stays[each].all():
                array = np.compress(self._stays[each], array, axis=axis)
        return Tensor(array, tensor.dtype)

    def _resized(self, editor: Editor, node: Node, sizes: list[Size]) -> Node:
        """The node with other numbers in an input that holds sizes."""
        changed = {size.at: int(self._stays[size.labels].sum()) for size in sizes if not self._stays[size.labels].all()}
        if not changed:
            return node
        at = sizes[0].input
        made = _sizes(editor, node.inputs[at], changed, node.name)
        return node.with_inputs(*node.inputs[:at], made, *node.inputs[at + 1 :])


def _sizes(editor: Editor, value: Value, changed: Mapping[int, int], name: str) -> Value:
    """The sizes with other entries; one of -1 says it already."""
    graph = editor.graph
    tensor = graph.constant(value)
    if tensor is not None:
        array = tensor.array.copy()
        for entry, count in changed.items():
            array[entry] = count if array[entry] != -1 else -1
        return editor.constant(f"{name}/sizes", array, tensor.dtype)
    maker = graph.producer(value)
    entries = list(maker.inputs)
    for entry, count in changed.items():
        before = graph.constant(entries[entry])
        assert before is not None
        if before.array != -1:
            number = np.asarray(count, before.array.dtype)
            entries[entry] = editor.constant(f"{name}/size", number, before.dtype)
    return editor.add("Pack", f"{name}/sizes", entries, maker.outputs, maker.attrs).value()
