"""What a SavedModel ought to have beside its `saved_model.pb`, read of that file without TensorFlow and without reading
its weights.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, tensorflow/core/framework/graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tfopt.formats.wire import Damaged, spans

# SavedModel, MetaGraphDef, GraphDef, NodeDef, SaverDef, AssetFileDef.
_META_GRAPHS, _GRAPH, _SAVER, _ASSETS, _NODE, _OP, _RESTORE, _ASSET_NAME = 2, 2, 3, 6, 1, 2, 3, 2
_VARIABLES: Final = frozenset({b"VarHandleOp", b"VariableV2", b"Variable", b"AutoReloadVariable"})


@dataclass(frozen=True)
class Parts:
    """`variables`: it has variables and restores them. `assets`: names of its asset files."""

    variables: bool
    assets: tuple[str, ...]


def parts_of(saved_model: Path) -> Parts:
    """What the `saved_model.pb` at this path needs beside it. Raises Damaged when its end is missing or it is none,
    OSError."""
    with saved_model.open("rb") as file:
        end = file.seek(0, 2)
        graphs = [(start, stop) for number, start, stop in spans(file, 0, end) if number == _META_GRAPHS]
        if not graphs:
            raise Damaged("it holds no graph")
        variables = any(_restores(file, *graph) and _has_variables(file, *graph) for graph in graphs)
        return Parts(variables, tuple(sorted({name for graph in graphs for name in _assets(file, *graph)})))


def _restores(file: BinaryIO, start: int, end: int) -> bool:
    savers = [(at, stop) for number, at, stop in spans(file, start, end) if number == _SAVER]
    return any(number == _RESTORE for saver in savers for number, _, _ in spans(file, *saver))


def _has_variables(file: BinaryIO, start: int, end: int) -> bool:
    graphs = [(at, stop) for number, at, stop in spans(file, start, end) if number == _GRAPH]
    return any(op in _VARIABLES for graph in graphs for op in _ops(file, *graph))


def _ops(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    for number, at, stop in spans(file, start, end):
        if number == _NODE:
            yield _first(file, at, stop, _OP)


def _assets(file: BinaryIO, start: int, end: int) -> Iterator[str]:
    for number, at, stop in spans(file, start, end):
        if number == _ASSETS:
            yield _first(file, at, stop, _ASSET_NAME).decode("utf-8", "replace")


def _first(file: BinaryIO, start: int, end: int, field: int) -> bytes:
    for number, at, stop in spans(file, start, end):
        if number == field:
            file.seek(at)
            return file.read(stop - at)
    return b""
