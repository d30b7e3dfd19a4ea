"""Graphs of the IR side by side in one TensorFlow graph, with tensors of that one for their inputs and weights."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tfopt.formats.tensorflow import tf  # isort: split

from numpy.typing import NDArray

from tfopt.formats.graph_def import to_graph_def
from tfopt.formats.message_size import check_message_size
from tfopt.formats.protos import GraphDef
from tfopt.ir.graph import Graph, Model, Node, Value
from tfopt.ir.rewrite import reachable
from tfopt.passes.loops.variables import placeholder

#: Bytes from which a constant is held by a variable: the protobuf, and what TensorFlow makes of it, stay small.
_LARGE: Final = 1 << 20
#: TensorFlow keeps functions that gradients are made of for the whole process: no two may have one name.
_NUMBERS: Final = itertools.count()


class Network:
    """One model, to be put into TensorFlow's default graph as often as it is wanted, under `scope`."""

    def __init__(self, model: Model, scope: str) -> None:
        self._model = model
        self._graph = model.graph
        self._scope = scope
        self._large: dict[str, Any] = {}
        self._stored: list[tuple[Any, Any, NDArray[Any]]] = []
        self._starts: list[tuple[Any, list[Any]]] = []

    def tensors(self, given: Mapping[str, Any], values: Sequence[Value]) -> list[Any]:
        """These values, computed from the tensors `given` for Placeholders by name. What is not given and not needed is
        not there."""
        assets = [asset.node for asset in self._model.assets]
        also = [] if self._model.init is None else [self._model.init, *assets]
        needed = reachable(self._graph, (*(value.node for value in values), *also))
        nodes = tuple(node for node in self._graph.nodes if node.name in needed)
        large = {node.name for node in nodes if _is_large(self._graph, node)}
        kept = tuple(_stand_in(node) if node.name in large else node for node in nodes)
        graph = replace(self._graph, nodes=kept, grids={})
        check_message_size(graph)
        held = {name: self._held(self._graph[name]) for name in sorted(large)}
        fed = {f"{name}:0": tensor for name, tensor in {**given, **held}.items() if name in needed}
        wanted = [f"{value.node}:{value.port}" for value in values]
        graph_def = _prefixed(to_graph_def(graph), f"{self._scope}_{next(_NUMBERS)}_")
        elements = [*wanted, *also]
        made = tf.graph_util.import_graph_def(graph_def, input_map=fed, return_elements=elements, name=self._scope)
        if also:
            self._starts.append((made[len(wanted)], [op.outputs[0] for op in made[len(wanted) + 1 :]]))
        return list(made[: len(wanted)])

    def start(self, session: Any) -> None:
        """Fill the variables that hold constants, and whatever the model itself initialises: tables above all."""
        for assign, slot, array in self._stored:
            session.run(assign, {slot: array})
        with tempfile.TemporaryDirectory(prefix="tfopt-") as directory:
            paths = []
            for number, asset in enumerate(self._model.assets):
                path = Path(directory, f"{number}-{Path(asset.filename).name}")
                path.write_bytes(asset.content)
                paths.append(str(path))
            for start, named in self._starts:
                session.run(start, dict(zip(named, paths, strict=True)))

    def _held(self, node: Node) -> Any:
        if node.name not in self._large:
            dtype, shape = tf.as_dtype(node.tensor.dtype.value), node.tensor.array.shape
            variable = tf.Variable(lambda: tf.zeros(shape, dtype), trainable=False, dtype=dtype)
            slot = tf.compat.v1.placeholder(dtype, shape)
            self._stored.append((variable.assign(slot), slot, node.tensor.array))
            self._large[node.name] = variable.read_value()
        return self._large[node.name]


def _is_large(graph: Graph, node: Node) -> bool:
    numbers = node.op == "Const" and node.tensor.dtype.is_floating and not node.controls
    return numbers and node.tensor.nbytes > _LARGE and node.name not in graph.targets


def _stand_in(node: Node) -> Node:
    return placeholder(node.name, node.tensor.type)


def _prefixed(graph_def: GraphDef, prefix: str) -> GraphDef:
    """With names of functions that no other graph's functions have."""
    known = {function.signature.name for function in graph_def.library.function}
    for function in graph_def.library.function:
        function.signature.name = prefix + function.signature.name
    for node in _nodes(graph_def):
        for attr in node.attr.values():
            for called in (attr.func, *attr.list.func):
                if called.name in known:
                    called.name = prefix + called.name
    return graph_def


def _nodes(graph_def: GraphDef) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def
