"""Fold batch normalisation into linear layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.channelwise import BATCH_NORMS, Affine, Channels, affine, keeps_channels

#: New weights by the old one and by the bytes of the scale, each with the layers that read it.
_Weights: TypeAlias = "dict[Value, dict[bytes, tuple[Value, list[Node]]]]"


@graph_pass
def fold_batch_norm(graph: Graph) -> Graph | Outcome:
    """Fold an inference-mode batch normalisation into the linear layer before it.

        %c = Conv2D(%x, %w)                        %c = Conv2D(%x, %w_scaled)
        %n = FusedBatchNormV3(%c, ...)     ->      %b = BiasAdd(%c, %shift)
        %y = Relu(%n)                              %y = Relu(%b)

    What is folded is the whole chain of ops behind a Conv2D, DepthwiseConv2dNative, MatMul or their kin that
    multiply each channel by a constant or add one: FusedBatchNorm in its three versions, the Mul and AddV2 that
    Keras 3 exports (after fold_constants), biases and scalings. One BiasAdd remains, right behind the layer, where
    TensorFlow fuses it. Reshapes that keep the channels, as Conv1D and Dense on sequences have them, are passed.
    New weights are computed in float64 and rounded once. Each value in the chain must have no other reader.
    Source: Jacob et al., Quantization and Training of Neural Networks, 2018, section 3.2 (arXiv:1712.05877).
    """
    editor = Editor(graph)
    findings: list[Finding] = []
    reasons: dict[str, str] = {}
    folded: set[str] = set()
    weights: _Weights = {}
    for node in graph.nodes:
        if node.op not in LINEAR:
            continue
        layer = linear(graph, node)
        if isinstance(layer, str):
            reasons.update(dict.fromkeys(_reader_names(graph, node.value()), layer))
            continue
        chain = _chain(graph, layer)
        reasons.update(dict.fromkeys(_reader_names(graph, chain.last), chain.stop))
        if chain.is_worth_folding:
            findings.append(_fold(editor, layer, chain, weights))
            folded.update(step.name for step in chain.steps)
    findings += _splits(graph, weights)
    findings += [
        Finding(node.name, False, reasons.get(node.name) or _no_layer(graph, node))
        for node in _batch_norms(graph)
        if node.name not in folded
    ]
    return Outcome(editor.finish(), tuple(findings))


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

    @property
    def is_worth_folding(self) -> bool:
        only_a_bias = len(self.steps) == 1 and self.steps[0].op == "BiasAdd" and not self.passed
        return bool(self.steps) and not only_a_bias


def _chain(graph: Graph, layer: Linear) -> _Chain:
    channels = Channels(layer.channels, layer.axis)
    steps: list[Node] = []
    passed: list[Node] = []
    passed_by_steps = 0
    effect = Affine.identity(layer.channels)
    last = end = layer.node.value()
    while (stop := _reason_to_stop(graph, last)) is None:
        (node,) = graph.readers[last]
        if keeps_channels(graph, node, last, channels):
            passed.append(node)
            last = node.value()
            continue
        step = affine(graph, node, last, channels)
        if isinstance(step, str):
            stop = step
            break
        if not step.is_finite:
            stop = f"{node.name} has an infinite or undefined scale or shift"
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


def _fold(editor: Editor, layer: Linear, chain: _Chain, weights: _Weights) -> Finding:
    """Write layer, bias and what was passed; readers of the chain's end then read the last of these."""
    node, dtype = layer.node, layer.weight.dtype
    scaled = _scaled_weight(editor, layer, chain.effect, weights)
    with np.errstate(over="ignore"):
        bias = chain.effect.shift.astype(layer.weight.array.dtype)
    if scaled is None or not np.all(np.isfinite(bias)):
        return Finding(node.name, False, f"{chain.steps[-1].name} cannot be folded: the weights would not fit {dtype}")
    editor.update(node.with_inputs(node.inputs[0], scaled, *node.inputs[2:]))
    made = node.value()
    if np.any(bias):
        constant = editor.constant(f"{node.name}/bias", bias, dtype)
        attrs: dict[str, AttrValue] = {"T": dtype, "data_format": Channels(layer.channels, layer.axis).data_format}
        made = editor.add("BiasAdd", f"{node.name}/BiasAdd", (made, constant), node.outputs, attrs).value()
    for passed in chain.passed:
        editor.update(passed.with_inputs(made, *passed.inputs[1:]))
        made = passed.value()
    editor.redirect(chain.end, made)
    what = " and ".join(dict.fromkeys(step.op for step in chain.steps))
    return Finding(chain.steps[-1].name, True, f"{what} folded into {node.op} {node.name}")


def _scaled_weight(editor: Editor, layer: Linear, effect: Affine, weights: _Weights) -> Value | None:
    """A constant with the scaled weight, one for all layers that share weight and scale; None when it overflows."""
    if np.all(effect.scale == 1):
        return layer.weight_value
    made = weights.setdefault(layer.weight_value, {})
    key = effect.scale.tobytes()
    if key not in made:
        with np.errstate(over="ignore"):
            scaled = layer.scaled(effect.scale)
        if not np.all(np.isfinite(scaled)):
            return None
        made[key] = (editor.constant(f"{layer.node.name}/weight", scaled, layer.weight.dtype), [])
    value, readers = made[key]
    readers.append(layer.node)
    return value


def _splits(graph: Graph, weights: _Weights) -> Iterator[Finding]:
    """What one weight for several layers has become, where their scales differ."""
    for old, made in weights.items():
        folded = sum(len(readers) for _, readers in made.values())
        left = len(graph.readers[old]) - folded
        more = len(made) - (0 if left else 1)
        if more:
            cost = more * graph.producer(old).tensor.nbytes
            kept = f", {left} of them with the old one" if left else ""
            yield Finding(old.node, True, f"was shared; its layers have {more + 1} weights now{kept} (+{cost:,} bytes)")


def _batch_norms(graph: Graph) -> Iterator[Node]:
    """What is, or looks like, the first op of a batch normalisation."""
    return (node for node in graph.nodes if node.op in BATCH_NORMS or _is_scaling_before_a_sum(graph, node))


def _is_scaling_before_a_sum(graph: Graph, node: Node) -> bool:
    if node.op != "Mul" or not any(_is_scale(graph, value) for value in node.inputs):
        return False
    return any(reader.op in ("Add", "AddV2", "Sub") for reader in graph.readers.get(node.value(), ()))


def _is_scale(graph: Graph, value: Value) -> bool:
    """A constant vector, or a product with an Rsqrt that is not constant yet."""
    tensor = graph.constant(value)
    if tensor is not None:
        return tensor.dtype.is_floating and tensor.array.size > 1 and max(tensor.array.shape) == tensor.array.size
    makers = (graph.producer(inner).op for inner in graph.producer(value).inputs)
    return graph.producer(value).op == "Rsqrt" or (graph.producer(value).op == "Mul" and "Rsqrt" in makers)


def _no_layer(graph: Graph, node: Node) -> str:
    reads = [graph.producer(value) for value in node.inputs if graph.constant(value) is None]
    return f"stands behind {reads[0].name} ({reads[0].op}), not a linear layer" if reads else "reads only constants"
