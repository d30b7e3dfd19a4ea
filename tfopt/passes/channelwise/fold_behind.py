"""Fold the channelwise ops behind a linear layer into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR, Linear
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding
from tfopt.passes.channelwise.channels import MOVING, behind
from tfopt.passes.channelwise.folding import Folded, NewWeights, bias_op, fits, foldable, output_channels
from tfopt.passes.channelwise.ops import CHANNELWISE, Affine, affine


def fold_behind(graph: Graph) -> Folded:
    """Each linear layer with what follows it: a scaled weight and one BiasAdd."""
    editor = Editor(graph)
    weights = NewWeights(graph, editor)
    findings: list[Finding] = []
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        if node.op not in LINEAR or _is_settled(graph, node):
            continue
        layer = foldable(graph, node)
        if isinstance(layer, str):
            reasons.update(dict.fromkeys(_reader_names(graph, node.value()), layer))
            continue
        chain = _chain(graph, layer)
        reasons.update(dict.fromkeys(_reader_names(graph, chain.last), chain.stop))
        if not chain.is_only_a_bias(layer) and graph.is_read(chain.end):
            findings.append(_fold(editor, layer, chain, weights))
    return Folded(editor.finish(), (*findings, *weights.splits()), reasons)


def _is_settled(graph: Graph, node: Node) -> bool:
    """Does nothing follow that could be folded, but for the layer's own bias?"""
    readers = graph.readers.get(node.value(), ())
    if len(readers) == 1 and readers[0].op == "BiasAdd":
        readers = graph.readers.get(readers[0].value(), ())
    return not any(reader.op in CHANNELWISE or reader.op in MOVING for reader in readers)


def _reader_names(graph: Graph, value: Value) -> list[str]:
    return [node.name for node in graph.readers.get(value, ())]


@dataclass(frozen=True, slots=True)
class _Chain:
    """The channelwise `steps` behind a layer, what they do together, and the ops `passed` on the way.

    `end` is the value that the last step makes; the chain was followed up to `last` and goes no further for the
    reason `stop`.
    """

    steps: tuple[Node, ...]
    passed: tuple[Node, ...]
    effect: Affine
    end: Value
    last: Value
    stop: str

    def is_only_a_bias(self, layer: Linear) -> bool:
        """Nothing, or what stands where a folded bias would."""
        return not self.passed and [step.op for step in self.steps] in ([], ["BiasAdd"], [bias_op(layer)])


def _chain(graph: Graph, layer: Linear) -> _Chain:
    channels = output_channels(layer)
    steps: list[Node] = []
    passed: list[Node] = []
    passed_by_steps = 0
    effect = Affine.identity(layer.channels)
    last = end = layer.node.value()
    while (stop := _reason_to_stop(graph, last)) is None:
        (node,) = graph.readers[last]
        moved = behind(graph, node, last, channels)
        if moved is not None:
            passed.append(node)
            channels, last = moved, node.value()
            continue
        step = affine(graph, node, last, channels)
        if isinstance(step, str):
            stop = step
            break
        effect = effect.then(step)
        steps.append(node)
        passed_by_steps = len(passed)
        last = end = node.value()
    return _Chain(tuple(steps), tuple(passed[:passed_by_steps]), effect, end, last, stop)


def _reason_to_stop(graph: Graph, value: Value) -> str | None:
    if value in graph.output_set:
        return f"{value} is an output of the graph"
    readers = graph.readers.get(value, ())
    if len(readers) != 1:
        return f"{value} has {len(readers)} readers"
    if readers[0].controls:
        return f"{readers[0].name} waits for {', '.join(readers[0].controls)}"
    return None


def _fold(editor: Editor, layer: Linear, chain: _Chain, weights: NewWeights) -> Finding:
    """Write layer, bias and what was passed; readers of the chain's end then read the last of these."""
    node, effect = layer.node, chain.effect
    with np.errstate(over="ignore"):
        scaled = layer.scaled(effect.scale)
    if not np.all(np.isfinite(scaled)) or not fits(effect.shift, layer):
        return Finding(chain.steps[-1].name, False, f"the weights folded into {node.name} would overflow")
    if np.any(effect.scale != 1):
        editor.update(node.with_inputs(node.inputs[0], weights.weight(layer, scaled, effect.scale), *node.inputs[2:]))
    made = weights.add_bias(layer, effect.shift)
    for passed in chain.passed:
        editor.update(passed.with_inputs(made, *passed.inputs[1:]))
        made = passed.value()
    editor.redirect(chain.end, made)
    what = " and ".join(dict.fromkeys(step.op for step in chain.steps))
    return Finding(chain.steps[-1].name, True, f"{what} folded into {node.op} {node.name}")
