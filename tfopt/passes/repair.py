"""Fit layers anew to what the same layers made before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tfopt.errors import UsageError
from tfopt.ir.equal import attr_key
from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph, Model, Node
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.channelwise.put_affine import put_affine
from tfopt.passes.fitting.least_squares import Affine, Fit, fit
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.refits import FITTED, Pairs, Refit, Refits

#: An error as small as that, as a share of the power of what is wanted, is rounding.
_ROUNDING = 1e-9


@graph_pass(exact=False, gains=False)
def repair(model: Model, reference: Reference, refits: Refits) -> ModelOutcome:
    """Fit layers anew, by least squares, to what they made before the first step that changed the outputs.

        %y = Conv2D(%less, %w)    ->    %y = Conv2D(%less, %w2) + bias    nearest to what %y was of all of %x

    In the order of the graph, each linear layer whose weight or data is no longer what it was is given the weight and
    bias with which it comes nearest to what it made then, of what the layers before it, repaired already, make now; on
    unlabelled samples, all steps of a convolution over its data being rows of one system. A sum with a shortcut counts
    in, and so does a Relu behind it: what it cuts off need not be met. The weight is held near to what it was, as
    strongly as does best on samples that are held out, and a layer that does no better on these stays as it was.
    Weights that are zero stay zero. Of layers that lost channels (`Graph.kept`) those that are left are fitted. Layers
    within loops and branches, and weights that several layers share, stay as they are.
    Raises InvalidSamples for too few samples or none, and for random ones, UsageError for a quantized model.
    Source: least squares on what follows, layer by layer: He et al. 2017 (arXiv:1707.06168), Zhang et al. 2015
    (arXiv:1505.06798), with the shortcut as in the former.
    """
    if model.graph.grids:
        raise UsageError("the model is quantized, and its layers can no longer be fitted", hint="put repair before it")
    found = list(_layers(reference.model.graph, model.graph))
    chosen = [each for each in found if isinstance(each, Refit)]
    findings = [each for each in found if isinstance(each, Finding)]
    if not chosen:
        return ModelOutcome(model, tuple(findings))
    followed = refits.follow(reference.model, chosen)
    for refit in chosen:
        now = _now(model.graph, refit)
        pairs = followed.pairs(model, now)
        if pairs is None:
            findings.append(Finding(refit.name, False, "no sample reaches it, or its data has no axis of examples"))
            continue
        made = _fitted(now, pairs)
        findings.append(_finding(now, pairs, made))
        if made.after < made.before:
            model = model.with_graph(_with(model.graph, now, made, pairs))
    return ModelOutcome(model, tuple(findings))


def _layers(reference: Graph, graph: Graph) -> Iterator[Refit | Finding]:
    """What should be fitted, in the order in which it can be, and why other layers that changed cannot be."""
    changed = _changed(reference, graph)
    before = {fused.layer.node.name: fused for fused in fused_layers(reference)}
    place = {node.name: at for at, node in enumerate(graph.nodes)}
    for fused in sorted(fused_layers(graph), key=lambda each: place[each.summed.node]):
        layer = fused.layer
        if layer.node.name not in changed or layer.node.name not in before:
            continue
        reason = _reason_to_leave(graph, fused) or _mismatch(graph, before[layer.node.name], fused)
        if reason is None:
            yield _refit(reference, graph, before[layer.node.name], fused)
        else:
            yield Finding(layer.node.name, False, reason)


def _changed(reference: Graph, graph: Graph) -> set[str]:
    """Nodes that make something else than those of the same name did."""
    found: set[str] = set()
    for node in graph.nodes:
        before = reference.by_name.get(node.name)
        if before is None or not found.isdisjoint(value.node for value in node.inputs) or not _is_same(before, node):
            found.add(node.name)
    return found


def _is_same(one: Node, other: Node) -> bool:
    if one is other:
        return True
    if (one.op, one.inputs) != (other.op, other.inputs):
        return False
    if one.op == "Const":
        return one.tensor is other.tensor or np.array_equal(one.tensor.array, other.tensor.array)
    keys = ({name: attr_key(value) for name, value in node.attrs.items()} for node in (one, other))
    return next(keys) == next(keys)


def _reason_to_leave(graph: Graph, fused: Fused) -> str | None:
    layer, node = fused.layer, fused.layer.node
    if node.op not in FITTED or node.attrs.get("transpose_a") or node.attrs.get("adj_x"):
        return f"a {node.op} like this is not fitted"
    if layer.weight.dtype not in (DType.FLOAT32, DType.FLOAT64):
        return f"its weight is {layer.weight.dtype}, to which a new one would be rounded"
    if not graph.is_private(layer.weight_value):
        return f"its weight is read by {len(graph.readers[layer.weight_value])} nodes"
    if any(graph[name].controls for name in fused.nodes):
        return "it waits for another node"
    return None


def _mismatch(graph: Graph, before: Fused, fused: Fused) -> str | None:
    kept = graph.kept.get(fused.layer.node.name)
    if (before.layer.channels if kept is None else len(kept)) != fused.layer.channels:
        return f"which {fused.layer.channels} of its {before.layer.channels} channels are left is not told"
    return None


def _refit(reference: Graph, graph: Graph, before: Fused, fused: Fused) -> Refit:
    """With its sum and its activation, where both are what they were; else by itself."""
    kept = graph.kept.get(fused.layer.node.name)
    sums = [each.residual and each.sum_node for each in (before, fused)]
    if sums[0] != sums[1] or before.activation != fused.activation:
        return Refit(replace(fused, residual=None, activation=None), before.summed, kept)
    wanted = before.output
    if before.activation is not None:
        wanted = reference[before.output.node].inputs[0]
    return Refit(fused, wanted, kept)


def _now(graph: Graph, refit: Refit) -> Refit:
    """Layers before it may have got a bias, which it reads now."""
    layer = refit.fused.layer
    fused = replace(refit.fused, layer=replace(layer, node=graph[layer.node.name]))
    if fused.residual is None:
        return replace(refit, fused=fused)
    adds = graph[fused.sum_node]
    other = adds.inputs[1] if adds.inputs[0] == fused.summed else adds.inputs[0]
    return replace(refit, fused=replace(fused, residual=other))


def _fitted(refit: Refit, pairs: Pairs) -> Fit:
    layer, bias = refit.fused.layer, refit.fused.bias
    weight = layer.matrices.astype(np.float64)
    start = np.zeros(layer.channels) if bias is None else bias.astype(np.float64)
    return fit(pairs, Affine(weight, start.reshape(len(weight), 1, -1)), refit.fused.activation)


def _finding(refit: Refit, pairs: Pairs, made: Fit) -> Finding:
    is_better = made.after < made.before
    if not np.isfinite(made.before):
        return Finding(refit.name, False, "what it reads, or made before, is not finite on some samples")
    if is_better:
        told = f"off by {_share(made.after)} of what it made before the first lossy step, where it was "
        told += _share(made.before)
    elif made.before < _ROUNDING:
        return Finding(refit.name, False, "it makes what it made before the first lossy step")
    else:
        told = f"a new fit does no better on samples that were held out: it is off by {_share(made.before)}"
    if made.places <= made.unknowns:
        needed = -(-5 * (made.unknowns + 1) // (4 * pairs.places))
        told += f"; {made.unknowns} weights a channel need about {needed} samples: only scales and biases were tried"
    elif is_better and made.strength is None:
        told += "; new scales and biases alone did best"
    return Finding(refit.name, is_better, told)


def _share(power: float) -> str:
    """Of an error's power, as people compare signals: by the root."""
    return f"{100 * power**0.5:.2g} %"


def _with(graph: Graph, refit: Refit, made: Fit, pairs: Pairs) -> Graph:
    editor = Editor(graph)
    put_affine(editor, refit.fused, *made.found, float(np.square(pairs.fitted.wanted).mean()))
    return editor.finish()
