"""Decide which matrix products round their data as it comes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph, Model
from tfopt.ir.grid import DYNAMIC
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.quantization.eligible import reason_to_stay_float
from tfopt.passes.quantize_weights import quantize_weights

#: Numbers of a weight from which the faster product pays for looking at the data first.
_WORTHWHILE: Final = 1 << 14


@graph_pass(exact=False)
def quantize_dynamic(model: Model, *, only: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> ModelOutcome:
    """Decide which matrix products round their data as it comes.

        %y = MatMul(%x, %w)    ->    grid %w {bits: 8, scales: [0.004, 0.007], axes: (1), narrow: true, ...}
                                     grid %x {bits: 8, scales: [], narrow: true, ...}

    Products with a constant weight compute on integers. Each row of their data gets the scale of its largest number, in
    each call, so that no samples are needed, and answers do not depend on what else is in a batch. Weights of other
    layers, and tables, are kept as integers as by `quantize_weights`, and compute in float. `only` and `skip` are
    patterns (as in a shell) of layers and tables. Raises UsageError for one that matches none.
    """
    outcome = quantize_weights.run_model(model, {"only": only, "skip": skip})
    graph = outcome.model.graph
    if graph is model.graph:
        return outcome
    chosen = {fused.layer.node.name: fused.layer for fused in fused_layers(graph) if _rounds_data(graph, fused)}
    grids = {layer.data_value: DYNAMIC for layer in chosen.values()}
    findings = tuple(_also_data(finding) if finding.node in chosen else finding for finding in outcome.findings)
    changed = replace(graph, grids={**graph.grids, **grids}) if grids else graph
    return ModelOutcome(outcome.model.with_graph(changed), findings)


def _rounds_data(graph: Graph, fused: Fused) -> bool:
    layer = fused.layer
    large = layer.node.op == "MatMul" and layer.weight.array.size >= _WORTHWHILE
    return large and layer.weight_value in graph.grids and reason_to_stay_float(graph, fused) is None


def _also_data(finding: Finding) -> Finding:
    return replace(finding, message="int8, its data rounded as it comes")
