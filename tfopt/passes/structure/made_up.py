"""Take units out, and let their readers make up for them as far as second moments tell how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.channelwise.put_affine import put_affine
from tfopt.passes.structure.coupling import Coupled, Coupling
from tfopt.passes.structure.elimination import held
from tfopt.passes.structure.removal import without_units
from tfopt.passes.structure.systems import System


def made_up_for(coupling: Coupling, gone: NDArray[np.int64], systems: Sequence[System]) -> Graph:
    """The graph without these units, and the weights of their readers solved anew, each for what it read before.

    Layers in groups, of other dtypes, and those that share a weight keep what is left of theirs, as do readers that
    no system tells of.
    """
    graph = without_units(coupling, gone)
    left = {fused.layer.node.name: fused for fused in fused_layers(graph)}
    layers = {layer.name: layer for layer in coupling.layers if layer.graph is coupling.graph}
    parts = Counter(system.layer for system in systems)
    editor = Editor(graph)
    for system in systems:
        fused = left.get(system.layer)
        if (
            fused is not None
            and parts[system.layer] == 1
            and np.isin(system.units, gone).any()
            and _is_own(graph, fused)
        ):
            _solve(editor, layers[system.layer], fused, system, gone)
    return editor.finish()


def _is_own(graph: Graph, fused: Fused) -> bool:
    layer = fused.layer
    return layer.weight.dtype in (DType.FLOAT32, DType.FLOAT64) and graph.is_private(layer.weight_value)


def _solve(editor: Editor, layer: Coupled, fused: Fused, system: System, gone: NDArray[np.int64]) -> None:
    """A layer without a bias is given none: bytes may be what is to be saved."""
    stays = ~np.isin(system.units, gone)
    wanted = system.weight[:, ~np.isin(layer.made, gone)]
    second = held(system)
    if fused.bias is None:
        second = second + np.outer(system.first, system.first)
    weight = np.asarray(np.linalg.solve(second[np.ix_(stays, stays)], second[stays] @ wanted), np.float64)
    bias = np.zeros(wanted.shape[1])
    if fused.bias is not None:
        bias = fused.bias + system.first @ wanted - system.first[stays] @ weight
    put_affine(editor, fused, weight[None], bias, 1.0)
