"""Grids of tables that are looked up: they compute nothing, and are most of the bytes of a model of language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from tfopt.ir.graph import Graph, Node
from tfopt.ir.grid import symmetric
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.quantization.weights import rounded

#: Bytes from which it pays.
_LARGE: Final = 1 << 16


def tables(graph: Graph) -> tuple[Node, ...]:
    """Large float32 constants of two axes of which all that reads them takes rows."""
    return tuple(_tables(graph))


def _tables(graph: Graph) -> Iterator[Node]:
    for node in graph.by_op.get("Const", ()):
        tensor, value = node.tensor, node.value()
        is_large = tensor.dtype is DType.FLOAT32 and tensor.array.ndim == 2 and tensor.nbytes >= _LARGE
        if is_large and _gives_rows_alone(graph, node) and value not in graph.grids and np.isfinite(tensor.array).all():
            yield node


def _gives_rows_alone(graph: Graph, table: Node) -> bool:
    readers = graph.readers.get(table.value(), ())
    free = table.value() not in graph.output_set and table.name not in graph.targets
    return free and bool(readers) and all(_takes_rows(graph, reader, table) for reader in readers)


def _takes_rows(graph: Graph, reader: Node, table: Node) -> bool:
    if reader.op != "GatherV2" or reader.attrs.get("batch_dims") or reader.inputs[0] != table.value():
        return False
    axis = graph.constant(reader.inputs[2])
    return axis is not None and int(axis.array) == 0


def with_table_grids(graph: Graph, chosen: tuple[Node, ...], bits: int = 8) -> Graph:
    """Round each to a grid with a scale for each column."""
    editor = Editor(graph)
    grids = {}
    for node in chosen:
        grid = symmetric(np.abs(node.tensor.array).max(axis=0), bits=bits, axes=(1,))
        grids[node.value()] = grid
        editor.update(node.with_attrs(value=rounded(grid, node.tensor)))
    return replace(editor.finish(), grids={**graph.grids, **grids})


def table_told(node: Node) -> str:
    rows, columns = node.tensor.array.shape
    return f"a table of {rows:,} rows is kept as int8, with a scale for each of {columns} columns"
