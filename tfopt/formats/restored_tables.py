"""Tables whose content is in the checkpoint: let the initialiser fill them with it.

%keys, %values = RestoreV2(...)               %keys = Const()
LookupTableImportV2(%table, %keys, ...) ->    LookupTableInsertV2(%table, %keys, %values)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from tfopt.errors import UnsupportedModel
from tfopt.formats.checkpoint import Checkpoint
from tfopt.formats.freeze import source, stored
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor, reachable
from tfopt.ir.types import Shape


def fill_from_checkpoint(
    graph: Graph, restore: Iterable[str], served: Collection[str], checkpoint: Checkpoint, origin: str
) -> tuple[Graph, tuple[str, ...]]:
    """The graph, and the names of the nodes in it that fill the tables which `served` nodes look up.

    Raises UnsupportedModel when what is filled in is not what was read, InvalidModel for a damaged checkpoint.
    """
    editor = Editor(graph)
    filled = []
    for name in sorted(reachable(graph, restore)):
        node = graph[name]
        if node.op == "LookupTableImportV2" and source(graph, node.inputs[0]).node in served:
            table = graph[source(graph, node.inputs[0]).node]
            keys, values = (_read(graph, node, value, checkpoint, origin) for value in node.inputs[1:])
            if table.op == "MutableDenseHashTableV2":
                keys, values = _entries(graph, table, keys, values, f"{origin}: {table.name}")
            added = (
                editor.constant(f"{table.name}/{part}", array) for part, array in (("keys", keys), ("values", values))
            )
            editor.update(replace(node, op="LookupTableInsertV2", inputs=(table.value(), *added), controls=()))
            filled.append(name)
    return editor.finish(), tuple(filled)


def _read(graph: Graph, node: Node, value: Value, checkpoint: Checkpoint, origin: str) -> NDArray[Any]:
    read = source(graph, value)
    where = f"{origin}: {node.name}"
    if graph[read.node].op != "RestoreV2":
        raise UnsupportedModel("fills a table with something that is computed when it is restored", where=where)
    return checkpoint.read(*stored(graph, read, where))


def _entries(
    graph: Graph, table: Node, keys: NDArray[Any], values: NDArray[Any], where: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What a dense table holds. It saves all its buckets, and marks those that hold nothing with keys of their own."""
    empty, deleted = (_mark(graph, value, where) for value in table.inputs)
    rows = keys.reshape(len(keys), -1)
    taken = ~((rows == empty.reshape(-1)).all(axis=1) | (rows == deleted.reshape(-1)).all(axis=1))
    shape = table.attrs.get("value_shape")
    value_shape = tuple(size or 0 for size in shape.dims or ()) if isinstance(shape, Shape) else ()
    count = int(taken.sum())
    return keys[taken].reshape(count, *empty.shape), values[taken].reshape(count, *value_shape)


def _mark(graph: Graph, value: Value, where: str) -> NDArray[Any]:
    mark = graph.constant(source(graph, value))
    if mark is None:
        raise UnsupportedModel("is a table that marks empty places with a computed key", where=where)
    array: NDArray[Any] = mark.array
    return array
