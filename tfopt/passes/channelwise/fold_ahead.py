"""Fold the channelwise ops before linear layers into them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR, TRANSPOSED, Linear, data_input
from tfopt.ir.rewrite import Editor
from tfopt.passes.arithmetic.rounding import LARGEST_SCALE, LARGEST_SHIFT, SMALLEST_SCALE
from tfopt.passes.base import Finding
from tfopt.passes.channelwise.activation_parts import is_part_of_activation
from tfopt.passes.channelwise.channels import MOVING, before
from tfopt.passes.channelwise.folding import Folded, NewWeights, fits, foldable, input_channels
from tfopt.passes.channelwise.ops import BATCH_NORMS, CHANNELWISE, Affine, affine, broadcasting
from tfopt.passes.layout.window import window, window_pads

_LEADING = CHANNELWISE | (MOVING - {"BatchToSpaceND"})


def fold_ahead(graph: Graph) -> Folded:
    """Each linear layer with what leads to it: a scaled weight, and a BiasAdd for what the shifts made.

    What leads to several linear layers, and to nothing else, is folded into all of them or into none.
    """
    editor = Editor(graph)
    weights = NewWeights(graph, editor)
    findings: list[Finding] = []
    reasons: dict[str, str] = {}
    for value, nodes in _led_to(graph).items():
        plans = [_plan(graph, node) for node in nodes]
        chains = [plan for plan in plans if isinstance(plan, _Plan)]
        if len(chains) == len(plans) and all(plan.chain.is_like(chains[0].chain) for plan in chains):
            findings += [_fold(editor, plan, weights) for plan in chains]
            continue
        told = [plan.reason for plan in plans if isinstance(plan, _Against)]
        steps = {step.name for plan in plans if isinstance(plan, _Plan | _Against) for step in plan.chain.steps}
        reasons.update(dict.fromkeys(steps, told[0] if told else f"not all that read {value} can take it"))
    return Folded(editor.finish(), (*findings, *weights.splits()), reasons)


def _led_to(graph: Graph) -> dict[Value, list[Node]]:
    """The linear layers that something leads to, by the value they read, where nothing else reads it."""
    found: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        if node.op not in LINEAR or not graph.is_read(node.value()):
            continue
        value = node.inputs[data_input(node)]
        if graph.producer(value).op in _LEADING and value not in graph.output_set:
            found.setdefault(value, []).append(node)
    return {value: nodes for value, nodes in found.items() if len(nodes) == len(graph.readers[value])}


@dataclass(frozen=True, slots=True)
class _Chain:
    """The channelwise `steps` before a layer, last one first, what they do together to each input channel of the
    layer, the ops `passed` on the way that stand behind a step, and the value `start` that goes in."""

    steps: tuple[Node, ...]
    passed: tuple[Node, ...]
    effect: Affine
    start: Value

    def is_like(self, other: _Chain) -> bool:
        return (self.steps, self.passed) == (other.steps, other.passed)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is folded into `layer`; `kept` is what stays before it, to be added to each channel."""

    layer: Linear
    chain: _Chain
    kept: Affine | None = None


@dataclass(frozen=True, slots=True)
class _Against:
    chain: _Chain
    reason: str


def _plan(graph: Graph, node: Node) -> _Plan | _Against | None:
    layer = foldable(graph, node)
    if isinstance(layer, str):
        return None
    chain = _chain(graph, layer)
    if not chain.steps:
        return None
    plan = _within_padding(graph, layer, chain)
    if isinstance(plan, str):
        return _Against(chain, plan)
    reason = _reason_against(graph, plan)
    return plan if reason is None else _Against(chain, reason)


def _chain(graph: Graph, layer: Linear) -> _Chain:
    steps: list[Node] = []
    passed: list[Node] = []
    passed_by_steps = 0
    effect = Affine.identity(layer.in_channels)
    channels = input_channels(layer)
    value = start = layer.data_value
    while (value == layer.data_value or graph.is_private(value)) and not graph.producer(value).controls:
        node = graph.producer(value)
        source = _data_input(graph, node)
        # The bias of another layer is fused with that layer, and stays there.
        if source is None or (node.op == "BiasAdd" and graph.producer(source).op in LINEAR):
            break
        if is_part_of_activation(graph, node):
            break
        if node.op in MOVING:
            moved = before(graph, node, channels) if node.inputs[0] == source else None
            if moved is None:
                break
            passed.append(node)
            channels = moved
        else:
            step = affine(graph, node, source, channels)
            # A single channel that the constants broadcast to several is no channelwise op.
            if isinstance(step, str) or not channels.are_of(graph, source):
                break
            effect = step.repeated(layer.in_channels // channels.count).then(effect)
            steps.append(node)
            passed_by_steps = len(passed)
            start = source
        value = source
    return _Chain(tuple(steps), tuple(passed[:passed_by_steps]), effect, start)


def _data_input(graph: Graph, node: Node) -> Value | None:
    """The only input that is not constant."""
    varying = [value for value in node.inputs if graph.constant(value) is None]
    return varying[0] if len(varying) == 1 and node.op in _LEADING else None


def _within_padding(graph: Graph, layer: Linear, chain: _Chain) -> _Plan | str:
    """A layer that pads sees zeros beside what a shift makes: scale * x + shift goes into it as
    scale * (x + shift / scale), and the sum stays."""
    if not np.any(chain.effect.shift) or not _mixes_zeros(graph, layer):
        return _Plan(layer, chain)
    reason = f"the padding of {layer.node.name} mixes zeros into it"
    if chain.passed or (len(chain.steps) == 1 and chain.steps[0].op not in BATCH_NORMS):
        return reason
    scale = np.abs(chain.effect.scale)
    if np.any(scale < SMALLEST_SCALE) or np.any(scale > LARGEST_SCALE):
        return f"{reason}, and its scale is too small or too large to be told from its shift"
    shift = chain.effect.shift / chain.effect.scale
    only_scale = Affine(chain.effect.scale, np.zeros_like(shift))
    return _Plan(layer, replace(chain, effect=only_scale), Affine(np.ones_like(shift), shift))


def _mixes_zeros(graph: Graph, layer: Linear) -> bool:
    """Does the response to a constant input differ from place to place?"""
    if layer.node.op in TRANSPOSED:
        return True
    if isinstance(window(graph, layer.node), str):
        return False
    pads = window_pads(graph, layer.node)
    return pads is None or any(any(pad) for pad in pads)


def _reason_against(graph: Graph, plan: _Plan) -> str | None:
    layer, effect, node = plan.layer, plan.chain.effect, plan.layer.node
    if node.attrs.get("transpose_a") or node.attrs.get("adj_x"):
        return f"{node.name} reads it transposed"
    if not input_channels(layer).are_of(graph, layer.data_value):
        return f"{node.name} reads an unknown number of channels"
    with np.errstate(over="ignore"):
        scaled = layer.scaled_in(effect.scale)
    overflows = not np.all(np.isfinite(scaled)) or not fits(layer.response(effect.shift), layer)
    if overflows or (plan.kept is not None and not fits(plan.kept.shift, layer)):
        return f"the weights folded into {node.name} would overflow"
    if np.any(np.abs(effect.shift) > LARGEST_SHIFT):
        return f"its shift of {np.max(np.abs(effect.shift)):g} cancels what {node.name} would have to round before"
    return None


def _fold(editor: Editor, plan: _Plan, weights: NewWeights) -> Finding:
    layer, chain, node = plan.layer, plan.chain, plan.layer.node
    data = chain.start if plan.kept is None else _shifted(editor, plan, plan.kept)
    for passed in reversed(chain.passed):
        editor.update(passed.with_inputs(data, *passed.inputs[1:]))
        data = passed.value()
    inputs = list(node.inputs)
    inputs[data_input(node)] = data
    if np.any(chain.effect.scale != 1):
        inputs[1] = weights.weight(layer, layer.scaled_in(chain.effect.scale), chain.effect.scale)
    editor.update(node.with_inputs(*inputs))
    editor.redirect(node.value(), weights.add_bias(layer, layer.response(chain.effect.shift)))
    what = " and ".join(dict.fromkeys(step.op for step in reversed(chain.steps)))
    rest = "" if plan.kept is None else ", but for an AddV2 that the padding needs"
    return Finding(chain.steps[-1].name, True, f"{what} folded into {node.op} {node.name} behind it{rest}")


def _shifted(editor: Editor, plan: _Plan, kept: Affine) -> Value:
    """What the layer reads with the shift added to it."""
    layer, name = plan.layer, plan.layer.node.name
    read = editor.graph.type_of(layer.data_value)
    shift = broadcasting(kept.shift.astype(layer.weight.array.dtype), input_channels(layer))
    inputs = (plan.chain.start, editor.constant(f"{name}/shift", shift, layer.weight.dtype))
    return editor.add("AddV2", f"{name}/shifted", inputs, (read,), {"T": layer.weight.dtype}).value()
