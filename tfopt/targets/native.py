"""Write a model with grids as a SavedModel that computes on integers in stock TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Model
from tfopt.ir.types import DType
from tfopt.requirements import ONEDNN, VNNI
from tfopt.targets.base import Artifact
from tfopt.targets.native_lowering.dynamic import with_dynamic_products
from tfopt.targets.native_lowering.lowering import Lowered, with_native_int8
from tfopt.targets.saved_model import write_saved_model
from tfopt.targets.stored_weights import with_stored_weights

#: What computes on integers.
_OPS: Final = frozenset({"_FusedQuantizedConv2D", "_FusedQuantizedDepthwiseConv2D", "_QuantizedMatMul"})
#: Weights of 7 bits: two products with 255 fit into 16 bits.
_SAFE: Final = 63
#: Layers that stay float that a note names.
_NAMED: Final = 3


def write_native_saved_model(model: Model, directory: Path, *, faster_only: bool = True) -> Artifact:
    """As `write_saved_model`, of the integer lowering. What it requires of the serving machine is in the artifact.

    Layers that would be slower as integers stay float, unless `faster_only` is False.

    Raises what `write_saved_model` raises.
    """
    # What is known of the data is known in a call alone where grids are dynamic; the rest is for `with_native_int8`.
    model = model.with_graph(with_dynamic_products(model.graph))
    lowered = with_native_int8(model, faster_only=faster_only)
    graph = with_stored_weights(lowered.model.graph, model.graph.grids)
    artifact = write_saved_model(lowered.model.with_graph(graph), directory)
    computes = any(model.graph.constant(value) is None for value in model.graph.grids)
    return replace(artifact, requires=requirements(graph), notes=tuple(_notes(lowered)) if computes else ())


def requirements(graph: Graph) -> tuple[str, ...]:
    """What a graph of integer ops requires of the machine that runs it; nothing when there are none in it."""
    return tuple(_requirements(graph))


def _requirements(graph: Graph) -> Iterator[str]:
    if not any(node.op in _OPS for node in graph.nodes):
        return
    filters = [node.tensor.array for node in graph.by_op.get("Const", ()) if node.tensor.dtype is DType.QINT8]
    if filters:
        yield ONEDNN
    if any(map(_is_wide, filters)):
        yield VNNI


def _is_wide(levels: NDArray[np.int8]) -> bool:
    """Even numbers are halved without loss before they are multiplied: those of what reads signed numbers. The largest
    one of a channel of 8 bits is odd."""
    return bool(np.abs(levels.astype(np.int16)).max(initial=0) > _SAFE and (levels % 2).any())


def _notes(lowered: Lowered) -> Iterator[str]:
    if not lowered.layers:
        yield "no layer computes on integers"
    by_reason: dict[str, list[str]] = {}
    for name, reason in lowered.left.items():
        by_reason.setdefault(reason, []).append(name)
    yield from (f"{_listed(names)}: {reason}" for reason, names in _most_first(by_reason))


def _most_first(by_reason: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    return sorted(by_reason.items(), key=lambda item: -len(item[1]))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
