"""Fold the channelwise ops before a linear layer into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR, Linear
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding
from tfopt.passes.channelwise import CHANNELWISE, KEEPING, Affine, Channels, affine
from tfopt.passes.folding import Folded, NewWeights, fits, foldable


def fold_ahead(graph: Graph) -> Folded:
    """Each linear layer with what leads to it: a scaled weight, and a BiasAdd for what the shifts made."""
    editor = Editor(graph)
    weights = NewWeights(graph, editor)
    findings: list[Finding] = []
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        # Behind a transposed convolution the response to a constant input differs from place to place.
        if node.op not in LINEAR or node.op == "Conv2DBackpropInput" or not _is_led_to(graph, node):
            continue
        layer = foldable(graph, node)
        if isinstance(layer, str):
            continue
        chain = _chain(graph, layer)
        if not chain.steps:
            continue
        reason = _reason_against(graph, layer, chain)
        if reason is None:
            findings.append(_fold(editor, layer, chain, weights))
        else:
            reasons.update((step.name, reason) for step in chain.steps)
    return Folded(editor.finish(), (*findings, *weights.splits()), reasons)


def _is_led_to(graph: Graph, node: Node) -> bool:
    return graph.producer(node.inputs[0]).op in _LEADING and graph.is_private(node.inputs[0])


_RESHAPES = KEEPING - {"BatchToSpaceND"}
_LEADING = CHANNELWISE | _RESHAPES


@dataclass(frozen=True, slots=True)
class _Chain:
    """The channelwise `steps` before a layer, last one first, what they do together to each input channel of the
    layer, the ops `passed` on the way that stand behind a step, and the value `start` that goes in."""

    steps: tuple[Node, ...]
    passed: tuple[Node, ...]
    effect: Affine
    start: Value


def _chain(graph: Graph, layer: Linear) -> _Chain:
    steps: list[Node] = []
    passed: list[Node] = []
    passed_by_steps = 0
    effect = Affine.identity(layer.in_channels)
    channels = Channels(layer.in_channels, layer.axis)
    value = start = layer.node.inputs[0]
    while graph.is_private(value) and not graph.producer(value).controls:
        node = graph.producer(value)
        before = _data_input(graph, node)
        # The bias of another layer is fused with that layer, and stays there.
        if before is None or (node.op == "BiasAdd" and graph.producer(before).op in LINEAR):
            break
        if node.op in _RESHAPES:
            flattened = _channels_before(graph, node, before, channels)
            if flattened is None:
                break
            passed.append(node)
            channels = flattened
        else:
            step = affine(graph, node, before, channels)
            # A single channel that the constants broadcast to several is no channelwise op.
            if isinstance(step, str) or not _has_channels(graph, before, channels):
                break
            effect = step.repeated(layer.in_channels // channels.count).then(effect)
            steps.append(node)
            passed_by_steps = len(passed)
            start = before
        value = before
    return _Chain(tuple(steps), tuple(passed[:passed_by_steps]), effect, start)


def _has_channels(graph: Graph, value: Value, channels: Channels) -> bool:
    dims = graph.type_of(value).shape.dims
    return dims is not None and len(dims) >= -channels.axis and dims[channels.axis] == channels.count


def _data_input(graph: Graph, node: Node) -> Value | None:
    """The only input that is not constant."""
    varying = [value for value in node.inputs if graph.constant(value) is None]
    return varying[0] if len(varying) == 1 and node.op in _LEADING else None


def _channels_before(graph: Graph, node: Node, before: Value, channels: Channels) -> Channels | None:
    """The channels before a reshape: in row-major order each keeps its place when their number divides the new one,
    as where a Flatten makes h*w*c of c."""
    if node.inputs[0] != before or channels.axis != -1:
        return None
    if node.op in IDENTITIES:
        return channels
    old, new = graph.type_of(before).shape.dims, node.outputs[0].shape.dims
    if not old or not new or new[-1] != channels.count or not old[-1] or channels.count % old[-1]:
        return None
    return Channels(old[-1], -1)


def _reason_against(graph: Graph, layer: Linear, chain: _Chain) -> str | None:
    node = layer.node
    if node.attrs.get("transpose_a") or node.attrs.get("adj_x"):
        return f"{node.name} reads it transposed"
    if not _has_channels(graph, node.inputs[0], Channels(layer.in_channels, layer.axis)):
        return f"{node.name} reads its channels in groups, or an unknown number of them"
    if np.any(chain.effect.shift) and _pads(layer):
        return f"the padding of {node.name} mixes zeros into it"
    with np.errstate(over="ignore"):
        scaled = layer.scaled_in(chain.effect.scale)
    if not np.all(np.isfinite(scaled)) or not fits(layer.response(chain.effect.shift), layer):
        return f"the weights folded into {node.name} would overflow"
    return None


def _pads(layer: Linear) -> bool:
    padding = layer.node.attrs.get("padding", b"VALID")
    window = [dim for axis, dim in enumerate(layer.weight.array.shape) if axis not in (layer.in_axis, *layer.out_axes)]
    return padding != b"VALID" and not (padding == b"SAME" and max(window, default=1) == 1)


def _fold(editor: Editor, layer: Linear, chain: _Chain, weights: NewWeights) -> Finding:
    node, effect = layer.node, chain.effect
    data = chain.start
    for passed in reversed(chain.passed):
        editor.update(passed.with_inputs(data, *passed.inputs[1:]))
        data = passed.value()
    weight = layer.weight_value
    if np.any(effect.scale != 1):
        weight = weights.weight(layer, layer.scaled_in(effect.scale), effect.scale)
    editor.update(node.with_inputs(data, weight))
    editor.redirect(node.value(), weights.add_bias(layer, layer.response(effect.shift)))
    what = " and ".join(dict.fromkeys(step.op for step in reversed(chain.steps)))
    return Finding(chain.steps[-1].name, True, f"{what} folded into {node.op} {node.name} behind it")
