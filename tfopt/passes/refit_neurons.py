"""Move neurons so that the layer behind them makes what it made before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import UsageError
from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph, Model
from tfopt.ir.linear import Vector
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.channelwise.more_bias import add_to_bias
from tfopt.passes.fitting.neuron_steps import Neurons, Wanted, moved
from tfopt.passes.needs.assumed import AssumedRefits
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.refits import Pairs, Places, Refit, Refits

#: Rows that are drawn of both layers are of the same places when they agree as closely as that.
_SAME = 1e-3
_TOPS = {"Relu": np.inf, "Relu6": 6.0}


@graph_pass(exact=False, gains=False)
def refit_neurons(
    model: Model,
    reference: Reference,
    refits: Refits | None = None,
    *,
    by: Literal["auto", "samples", "weights"] = "auto",
) -> ModelOutcome:
    """Move the weights of neurons, and fit the layer that reads them, to what that made before the first lossy step.

        %h = Relu(MatMul(%x, %u))    ->    %h = Relu(MatMul(%x, %u2))
        %y = MatMul(%h, %v)                %y = MatMul(%h, %v2)        nearest to what %y was

    What `repair` does for one layer, for two of which one reads the other: neurons that are left can take over what
    those that are gone told, which no reader of theirs can make up for. On unlabelled samples, neuron by neuron in
    closed form, in a few rounds of which that is kept that does best on samples that are held out. Without samples, or
    with `by: weights`, what flows through the model is guessed from the weights alone, as in `merge_neurons`. For dense
    layers behind each other with Relu or Relu6 between them, that lost neurons or were changed; others stay as they
    are. Put it behind `repair`. Raises InvalidSamples for too few samples, UsageError for `by: samples` without any,
    and for a quantized model.
    Source: Gauss-Newton on one hidden unit at a time, as in `neuron_steps`.
    """
    if model.graph.grids:
        hint = "put refit_neurons before quantize"
        raise UsageError("the model is quantized, and its neurons can no longer be moved", hint=hint)
    known = _known(refits, by)
    findings = []
    for name, follower in _links(reference.model.graph, model.graph):
        made = _refitted(model, reference, known, name, follower)
        if isinstance(made, _Moved):
            model = model.with_graph(made.graph)
            findings.append(Finding(name, True, made.message))
        else:
            findings.append(Finding(name, False, made))
    return ModelOutcome(model, tuple(findings))


def _known(refits: Refits | None, by: str) -> Refits:
    if refits is not None and not refits.synthetic and by != "weights":
        return refits
    if by == "samples":
        raise UsageError("refit_neurons by samples needs some", hint="give --data, or leave out by")
    return AssumedRefits()


@dataclass(frozen=True, eq=False)
class _Moved:
    graph: Graph
    message: str


def _links(reference: Graph, graph: Graph) -> Iterator[tuple[str, str]]:
    """Names of dense layers of which the second reads the first alone, in graph order, that are not what they were."""
    by_data = {fused.layer.data_value: fused for fused in fused_layers(graph)}
    for fused in fused_layers(graph):
        reader = by_data.get(fused.output)
        if reader is None or fused.activation not in _TOPS or fused.residual is not None or not _is_dense(fused):
            continue
        names = fused.layer.node.name, reader.layer.node.name
        if _is_dense(reader) and graph.is_private(fused.output) and _is_changed(reference, graph, names):
            yield names


def _is_dense(fused: Fused) -> bool:
    node = fused.layer.node
    is_float = fused.layer.weight.dtype in (DType.FLOAT32, DType.FLOAT64)
    return node.op == "MatMul" and not node.attrs.get("transpose_a") and is_float and not node.controls


def _is_changed(reference: Graph, graph: Graph, names: tuple[str, str]) -> bool:
    if any(name not in reference or reference[name].op != "MatMul" for name in names):
        return False
    weights = [(reference.constant(reference[name].inputs[1]), graph.constant(graph[name].inputs[1])) for name in names]
    return any(before is not now for before, now in weights)


def _fused(graph: Graph, name: str) -> Fused:
    return next(fused for fused in fused_layers(graph) if fused.layer.node.name == name)


def _refitted(model: Model, reference: Reference, refits: Refits, name: str, follower: str) -> _Moved | str:
    graph = model.graph
    first, second = _fused(graph, name), _fused(graph, follower)
    if second.residual is not None or not all(graph.is_private(each.layer.weight_value) for each in (first, second)):
        return f"its weight or that of {follower} is not its alone, or a sum stands behind"
    wanted = [_refit(reference.model.graph, graph, each) for each in (first, second)]
    followed = refits.follow(reference.model, wanted)
    pairs = [followed.pairs(model, each) for each in wanted]
    one, other = pairs
    if one is None or other is None:
        return "no sample reaches it"
    start = Neurons(*_affine(first), *_affine(second), _TOPS[first.activation or ""])
    if not _agree(start, one, other):
        return f"samples show other places of it than of {follower}"
    fitted, held_out = (
        _wanted(mine, theirs, second) for mine, theirs in ((one.fitted, other.fitted), (one.held_out, other.held_out))
    )
    found, before, after = moved(start, fitted, held_out)
    if found is start:
        return f"no move of its neurons makes {follower} any better on samples that were held out"
    told = (
        f"{follower} is off by {100 * after**0.5:.2g} % of what it made before, where it was {100 * before**0.5:.2g} %"
    )
    return _Moved(_written(graph, first, second, found, start), told)


def _refit(reference: Graph, graph: Graph, fused: Fused) -> Refit:
    before = _fused(reference, fused.layer.node.name)
    return Refit(fused, before.summed, graph.kept.get(fused.layer.node.name))


def _affine(fused: Fused) -> tuple[NDArray[np.float64], Vector]:
    bias = np.zeros(fused.layer.channels) if fused.bias is None else fused.bias.astype(np.float64)
    return fused.layer.matrices[0].astype(np.float64), bias


def _agree(start: Neurons, one: Pairs, other: Pairs) -> bool:
    """Are both drawn at the same places?"""
    rows, reads = one.fitted.rows[0], other.fitted.rows[0]
    if rows.shape[0] != reads.shape[0] or one.held_out.rows.shape[1] != other.held_out.rows.shape[1]:
        return False
    apart = start.hidden(rows.astype(np.float64)) - reads
    return float(np.square(apart).sum()) <= _SAME**2 * float(np.square(reads, dtype=np.float64).sum())


def _wanted(mine: Places, theirs: Places, reader: Fused) -> Wanted:
    low, high = (-np.inf, np.inf) if reader.activation is None else (0.0, _TOPS[reader.activation])
    return Wanted(mine.rows[0].astype(np.float64), theirs.wanted.astype(np.float64), low, high)


def _written(graph: Graph, first: Fused, second: Fused, found: Neurons, start: Neurons) -> Graph:
    editor = Editor(graph)
    made = ((found.weight, found.bias - start.bias), (found.reader, found.reader_bias - start.reader_bias))
    for fused, (weight, shift) in zip((first, second), made, strict=True):
        layer = fused.layer
        array = layer.from_matrices(weight[None]).astype(layer.weight.array.dtype)
        value = editor.constant(f"{layer.node.name}/refitted", array, layer.weight.dtype)
        editor.update(layer.node.with_inputs(layer.node.inputs[0], value))
        add_to_bias(graph, editor, layer, shift)
    return editor.finish()
