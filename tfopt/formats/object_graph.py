"""The Python side of a SavedModel: what `tf.saved_model.load` gives attributes to. tfopt does not carry it.

Source: tensorflow/core/protobuf/saved_object_graph.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfopt.formats.meta_graph import read_meta_graph
from tfopt.formats.protos import MetaGraphDef

_CALLABLE = ("function", "bare_concrete_function")
_CALL = "__call__"


def read_callables(path: Path, *, tags: tuple[str, ...] = ("serve",)) -> tuple[str, ...]:
    """What can be called on the loaded object beside its signatures, as a caller writes it: `loaded(...)`,
    `loaded.serve(...)`. Raises InvalidModel, UnsupportedModel."""
    return tuple(sorted(_callables(read_meta_graph(path, tags))))


def _callables(meta_graph: MetaGraphDef) -> Iterator[str]:
    nodes = meta_graph.object_graph_def.nodes
    for child in nodes[0].children if nodes else ():
        name = child.local_name
        known = 0 <= child.node_id < len(nodes) and nodes[child.node_id].WhichOneof("kind") in _CALLABLE
        if known and name == _CALL:
            yield "loaded(...)"
        elif known and not name.startswith("_"):
            yield f"loaded.{name}(...)"
