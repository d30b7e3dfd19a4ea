"""Dynamic grids, for targets that have no such form."""

from __future__ import annotations

from dataclasses import replace

from tfopt.ir.graph import Model


def without_dynamic_grids(model: Model) -> Model:
    """The model in which what would be rounded as it comes stays float; weights stay on their grids."""
    graph = model.graph
    static = {value: grid for value, grid in graph.grids.items() if not grid.dynamic}
    return model if len(static) == len(graph.grids) else model.with_graph(replace(graph, grids=static))
