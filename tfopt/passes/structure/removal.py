"""A graph without some of its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import UsageError
from tfopt.ir.bodies import WHILES, map_bodies
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor, constant_node
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.passes.structure.coupling import Coupling
from tfopt.passes.structure.ties import Labels
from tfopt.passes.structure.walk import Followed, Size


def without_units(coupling: Coupling, gone: NDArray[np.int64], *, empties: bool = False) -> Graph:
    """The graph without these units: constants lose them, in functions too, and types and sizes say so. Nothing makes
    up for what the units had added to those that read them. `Graph.kept` says which output channels of a layer are
    left, so that they can be held against those of the model before.

    Raises UsageError where a group would keep none of its units, unless `empties` says that the layers which then make
    nothing are taken out by who asks.
    """
    for group in coupling.groups:
        if not empties and np.isin(group.units, gone).all():
            raise UsageError(
                f"nothing would be left of the {len(group.units)} channels of {group.name}",
                hint="remove fewer of them; each layer keeps at least one",
            )
    stays = ~np.isin(coupling.classes, gone)
    return _Removal(coupling, stays).graph(coupling.graph) if not stays.all() else coupling.graph


class _Removal:
    def __init__(self, coupling: Coupling, stays: NDArray[np.bool_]) -> None:
        self._coupling = coupling
        self._stays = stays
        self._done: dict[Graph, Graph] = {}
        self._payloads: dict[tuple[object, ...], Tensor] = {}
        self._made: dict[tuple[object, ...], Value] = {}

    def graph(self, graph: Graph) -> Graph:
        """Each function once."""
        if graph not in self._done:
            found = self._coupling.followed.get(graph)
            self._done[graph] = graph if found is None else self._shrunk(found)
        return self._done[graph]

    def _shrunk(self, found: Followed) -> Graph:
        editor = Editor(found.graph)
        changed: dict[str, dict[int, Value]] = {}
        for (name, at), labels in found.uses.items():
            if not self._is_whole(labels):
                free = found.graph.producer(found.graph[name].inputs[at])
                changed.setdefault(name, {})[at] = self._free(editor, free, labels)
        for (name, at), sizes in _by_input(found.sizes).items():
            if (value := self._resized(editor, found.graph[name], at, sizes)) is not None:
                changed.setdefault(name, {})[at] = value
        for node in found.graph.nodes:
            made = map_bodies(node, lambda _, body: self.graph(body))
            if node.name in changed:
                read = (changed[node.name].get(at, value) for at, value in enumerate(node.inputs))
                made = made.with_inputs(*read)
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

    def _is_whole(self, labels: Labels) -> bool:
        return all(each is None or bool(self._stays[each].all()) for each in labels or ())

    def _with_types(self, found: Followed, node: Node) -> Node:
        kinds = tuple(self._type(kind, found.labels.get(node.value(port))) for port, kind in enumerate(node.outputs))
        if node.name in found.unread:
            kinds = tuple(_of_any_size(kind) for kind in node.outputs)
        if kinds == node.outputs:
            return node
        made = replace(node, outputs=kinds)
        if node.op == "Const":
            return made.with_attrs(value=self._payload(node.tensor, found.labels[node.value()]))
        if node.op in ("Placeholder", "EnsureShape"):
            return made.with_attrs(shape=kinds[0].shape)
        return made.with_attrs(output_shapes=tuple(k.shape for k in kinds)) if node.op in WHILES else made

    def _type(self, kind: TensorType, labels: Labels) -> TensorType:
        if labels is None or kind.shape.dims is None or kind.dtype is DType.VARIANT:
            return kind
        dims = tuple(
            dim if dim is None or axis is None else int(self._stays[axis].sum())
            for dim, axis in zip(kind.shape.dims, labels, strict=True)
        )
        return TensorType(kind.dtype, Shape(dims))

    def _payload(self, tensor: Tensor, labels: Labels) -> Tensor:
        """Those that shared one share one."""
        stays = [None if each is None else self._stays[each] for each in labels or ()]
        key = tensor, *(None if each is None else each.tobytes() for each in stays)
        if key not in self._payloads:
            array = tensor.array
            for axis, each in enumerate(stays):
                if each is not None and not each.all():
                    array = np.compress(each, array, axis=axis)
            self._payloads[key] = Tensor(array, tensor.dtype)
        return self._payloads[key]

    def _free(self, editor: Editor, node: Node, labels: Labels) -> Value:
        """What is left of a constant or a Fill, for all readers that lose the same."""
        kind = self._type(node.outputs[0], labels)
        key = editor, node.name, *(None if each is None else self._stays[each].tobytes() for each in labels or ())
        if key not in self._made:
            if node.op == "Const" and editor.graph.is_private(node.value()):
                editor.update(constant_node(node.name, self._payload(node.tensor, labels)))
                return node.value()
            if node.op == "Const":
                tensor = self._payload(node.tensor, labels)
                made = editor.add("Const", node.name, (), [kind], {"value": tensor, "dtype": tensor.dtype})
            else:
                axes = enumerate(labels or ())
                sizes = [Size(node.name, 0, axis, each) for axis, each in axes if each is not None]
                shape = self._resized(editor, node, 0, sizes) or node.inputs[0]
                made = editor.add("Fill", node.name, (shape, *node.inputs[1:]), [kind], node.attrs, node.controls)
            self._made[key] = made.value()
        return self._made[key]

    def _resized(self, editor: Editor, node: Node, at: int, sizes: Sequence[Size]) -> Value | None:
        """The input `at` with other numbers in it; None where it says them already."""
        value = node.inputs[at]
        maker = editor.graph.producer(value)
        if maker.op == "Const":
            array = maker.tensor.array.copy()
            for size in sizes:  # also what is as many as before: it may be written as counted from the end
                array.flat[size.at] = self._number(size, int(array.flat[size.at]))
            same = np.array_equal(array, maker.tensor.array)
            return None if same else self._constant(editor, f"{node.name}/sizes", array, maker.tensor.dtype)
        changed = [size for size in sizes if self._more(size)]
        if not changed:
            return None
        packed = maker.op == "Pack"
        return self._packed(editor, node, maker, changed) if packed else self._moved(editor, node, value, changed)

    def _packed(self, editor: Editor, node: Node, maker: Node, sizes: Sequence[Size]) -> Value:
        entries = list(maker.inputs)
        dtype = maker.outputs[0].dtype
        for size in sizes:
            before = editor.graph.constant(entries[size.at])
            number = self._number(size, 0 if before is None else int(before.array))
            entries[size.at] = self._constant(editor, f"{node.name}/size", np.asarray(number, dtype.value), dtype)
        return editor.add("Pack", f"{node.name}/sizes", entries, maker.outputs, maker.attrs).value()

    def _moved(self, editor: Editor, node: Node, value: Value, sizes: Sequence[Size]) -> Value:
        """Sizes that are computed, and by how many more or fewer they are meant to be."""
        kind = editor.graph.type_of(value)
        more = np.zeros([dim or 0 for dim in kind.shape.dims or ()], kind.dtype.value)
        for size in sizes:
            more.flat[size.at] = self._more(size)
        difference = self._constant(editor, f"{node.name}/sizes/more", more, kind.dtype)
        return editor.add("AddV2", f"{node.name}/sizes", [value, difference], [kind], {"T": kind.dtype}).value()

    def _constant(self, editor: Editor, name: str, array: NDArray[Any], dtype: DType) -> Value:
        """One for all who need the same numbers."""
        key = editor, dtype, array.shape, array.tobytes()
        if key not in self._made:
            self._made[key] = editor.constant(name, array, dtype)
        return self._made[key]

    def _more(self, size: Size) -> int:
        """By how many the number must be more than it will be."""
        before = len(size.labels) if size.counted is None else int(self._stays[size.counted].sum())
        return int(self._stays[size.labels].sum()) - before

    def _number(self, size: Size, before: int) -> int:
        return -1 if size.infers and before == -1 else int(self._stays[size.labels].sum())


def _of_any_size(kind: TensorType) -> TensorType:
    dims = kind.shape.dims
    return TensorType(kind.dtype, Shape(None if dims is None else (None,) * len(dims)))


def _by_input(sizes: Sequence[Size]) -> Mapping[tuple[str, int], list[Size]]:
    found: dict[tuple[str, int], list[Size]] = {}
    for size in sizes:
        found.setdefault((size.node, size.input), []).append(size)
    return found
