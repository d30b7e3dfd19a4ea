"""What a graph without some of its units is held against: the graph with all of them, whose readers see none of these.

Nothing of how units are removed is used here: rows of weights are zero, and what is multiplied with no constant is
multiplied with zeros first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tfopt.formats.shapes import with_types
from tfopt.ir.bodies import graphs, innermost_first
from tfopt.ir.graph import Graph, Model, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor, numpy_dtype
from tfopt.passes.structure.coupling import Coupled, Coupling

Units = NDArray[np.int64]


def unseen(coupling: Coupling, gone: Units) -> Graph:
    """The whole graph, the units `gone` seen by nobody."""
    originals = list(graphs(coupling.graph))
    by_names = {tuple(graph.by_name): graph for graph in originals}

    def blind(graph: Graph, _: str) -> Graph:
        original = graph if graph in coupling.followed else by_names[tuple(graph.by_name)]
        editor = Editor(graph)
        for name, array in _zeroed(coupling, original, gone).items():
            editor.update(graph[name].with_attrs(value=Tensor(array, graph[name].tensor.dtype)))
        products = {name for group in coupling.groups for name in group.products}
        for name in products & set(graph.by_name):
            _mask(editor, coupling, original, graph[name], gone)
        return editor.finish()

    return innermost_first(coupling.graph, blind)


def _zeroed(coupling: Coupling, graph: Graph, gone: Units) -> Mapping[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = {}
    for layer in coupling.layers:
        if layer.graph is graph and len(layer.layer.out_axes) == 1:
            name = layer.layer.weight_value.node
            array = found.setdefault(name, layer.layer.weight.array.copy())
            np.moveaxis(array, layer.layer.in_axis, 0)[_rows(layer, gone)] = 0
    return found


def _rows(layer: Coupled, gone: Units) -> NDArray[np.bool_]:
    """Of a convolution in groups each reads the same places of its channels."""
    rows = np.isin(layer.read, gone)
    return rows[: layer.layer.weight.array.shape[layer.layer.in_axis]]


def _mask(editor: Editor, coupling: Coupling, original: Graph, node: Node, gone: Units) -> None:
    value, rest = node.inputs[0], node.inputs[1:]
    kind = original.type_of(value)
    labels = coupling.followed[original].labels[value] or ()
    for axis, each in enumerate(labels):
        if each is not None:
            stays = ~np.isin(coupling.classes[each], gone)
            place = [-1 if at == axis else 1 for at in range(len(labels))]
            mask = editor.constant("mask", stays.reshape(place).astype(numpy_dtype(kind.dtype)))
            value = editor.add("Mul", "masked", [value, mask], [kind], {"T": kind.dtype}).value()
    editor.update(node.with_inputs(value, *rest))


def assert_types_hold(graph: Graph) -> None:
    """TensorFlow, asked anew, finds no shape that contradicts the one that is written, and none that is wider."""
    for named, inferred in zip(graph.nodes, with_types(graph.nodes), strict=True):
        for port, (said, made) in enumerate(zip(named.outputs, inferred.outputs, strict=True)):
            if said.shape.dims is not None and made.shape.dims is not None:
                pairs = zip(said.shape.dims, made.shape.dims, strict=True)
                assert all(one is None or other is None or one == other for one, other in pairs), (
                    f"{Value(named.name, port)} is {made}, not {said}"
                )


def drawn(coupling: Coupling, rng: np.random.Generator) -> Units:
    """Of each group some units, at least one less than it has."""
    found = [np.empty(0, np.int64)]
    for group in coupling.groups:
        found.append(rng.permutation(group.units)[: rng.integers(0, len(group.units))])
    return np.concatenate(found)


def with_graph(model: Model, graph: Graph) -> Model:
    """The types of inputs and outputs are as they were: what callers see stays."""
    for key, signature in model.signatures.items():
        for name, entry in signature.outputs.items():
            made = graph.type_of(graph.outputs[entry.position])
            assert made == model.graph.type_of(model.graph.outputs[entry.position]), (key, name, made)
    return replace(model, graph=graph)
