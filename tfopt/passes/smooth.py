"""Divide the channels that linear layers read where some are much larger than the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import Graph, Model, Value
from tfopt.ir.linear import LINEAR, Linear, Vector
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.channelwise.absorb import Absorption, absorption, multiply_constants
from tfopt.passes.channelwise.channels import MOVING, Channels, before
from tfopt.passes.channelwise.folding import foldable, input_channels
from tfopt.passes.channelwise.readers import linear_readers
from tfopt.passes.channelwise.rescaled import rescaled
from tfopt.passes.channelwise.smoothing import Smoothing, smoothing
from tfopt.passes.needs.statistics import Observed, Statistics
from tfopt.passes.quantization.eligible import quantized_already

#: By what factor the estimated variance of the rounding error must fall: where the factors cost nothing but reserve (a
#: channel that is made larger leaves its grid sooner on other samples), and where they cost a product of their own.
_WORTH_IT = 2.0
_WORTH_A_PRODUCT = 3.0

#: How often each channel must have been seen for its ends to be known.
_FEWEST = 64

#: How many elements a sample holds at least where some were left out.
_FULL_SAMPLE = 32_768

#: Layers before which a product costs little beside what they do.
_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2")


def _check(alpha: float | None) -> None:
    if alpha is not None and not 0 <= alpha <= 1:
        raise InvalidRecipe(f"alpha is {alpha}", hint="give 0 to 1, or leave it out")


@graph_pass(checks=_check)
def smooth(model: Model, statistics: Statistics, *, alpha: float | None = None, multiply: bool = True) -> ModelOutcome:
    """Divide the channels that a linear layer reads, and multiply its weights, where some channels are much larger.

        %x = AddV2(Mul(%n, %gamma), %beta)    ->    %x = AddV2(Mul(%n, %gamma / s), %beta / s)
        %y = MatMul(%x, %w)                         %y = MatMul(%x, s * %w)

    One grid for all channels then suits the small ones too. s = max |x|^alpha / max |w|^(1 - alpha) for each channel,
    with the alpha of 0.3 to 0.9 that is estimated to round best unless one is given; layers that read one value get
    one s. It goes into the constants that make x: a layer norm's scale and shift, a bias, the weights of the layer
    before. Where others read x too, as a residual sum does behind a layer norm, or no constant makes it, x is
    multiplied for matrix products alone, if `multiply` allows it. The estimated rounding error must fall to 71 % or
    less, to 58 % where x is multiplied, and each channel must have been seen 64 times. Unlike `equalize` it knows from
    the samples how large the channels are, and suits weights with a scale for each channel. It gains nothing by
    itself, and stands before `quantize`. Raises InvalidRecipe for an alpha out of range.
    Source: Xiao et al., SmoothQuant, 2023 (https://arxiv.org/abs/2211.10438), section 4.
    """
    already = quantized_already(model.graph)
    if already is not None:
        return ModelOutcome(model, (already,))
    graph = model.graph
    groups = _groups(graph)
    observed = statistics.observe(model, [group.data for group in groups]) if groups else {}
    plans: dict[str, _Plan | str] = {}
    made: dict[str, Vector] = {}
    # The last first: by what a layer's outputs are divided matters for what reads its inputs.
    for group in reversed(groups):
        plan = _plan(graph, group, observed.get(group.data), made, alpha, multiply)
        if isinstance(plan, _Plan) and plan.absorbed is not None:
            made.update(dict.fromkeys(plan.absorbed.layers, 1 / plan.found.factor))
        plans[group.name] = plan
    findings = [_finding(group, plans[group.name]) for group in groups]
    chosen = [plan for plan in plans.values() if isinstance(plan, _Plan)]
    return ModelOutcome(model.with_graph(_written(graph, chosen)), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Group:
    """The layers that read `root`, through ops that move elements only."""

    root: Value
    channels: Channels
    layers: tuple[Linear, ...]

    @property
    def data(self) -> Value:
        return self.layers[0].data_value

    @property
    def name(self) -> str:
        return self.layers[0].node.name


def _groups(graph: Graph) -> Sequence[_Group]:
    found: dict[tuple[Value, Channels], list[Linear]] = {}
    for node in graph.nodes:
        layer = foldable(graph, node) if node.op in LINEAR else ""
        if not isinstance(layer, Linear) or node.attrs.get("transpose_a") or node.attrs.get("adj_x"):
            continue
        if (
            layer.axis == -1
            and input_channels(layer).are_of(graph, layer.data_value)
            and graph.constant(layer.data_value) is None
        ):
            found.setdefault(_root(graph, layer), []).append(layer)
    return [_Group(root, channels, tuple(layers)) for (root, channels), layers in found.items()]


def _root(graph: Graph, layer: Linear) -> tuple[Value, Channels]:
    value, channels = layer.data_value, input_channels(layer)
    while graph.producer(value).op in MOVING:
        moved = before(graph, graph.producer(value), channels)
        if moved is None or moved.count != channels.count:
            break
        value, channels = graph.producer(value).inputs[0], moved
    return value, channels


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a group is smoothed: by constants that take the factors, or by a product where there are none."""

    group: _Group
    found: Smoothing
    absorbed: Absorption | None


def _plan(
    graph: Graph,
    group: _Group,
    seen: Observed | None,
    made: Mapping[str, Vector],
    alpha: float | None,
    multiply: bool,
) -> _Plan | str:
    reason = _reason_against(graph, group, seen)
    if seen is None or reason is not None:
        return reason or "no sample reaches it"
    found = smoothing(seen, [_as_made(layer, made) for layer in group.layers], alpha)
    absorbed = _absorption(graph, group)
    if found.gain < (_WORTH_IT if absorbed is not None else _WORTH_A_PRODUCT):
        return f"{_told(group, found)}, and what factors would gain ({found.gain**-0.5:.0%}) is not worth them"
    if absorbed is None and not (multiply and all(layer.node.op in _PRODUCTS for layer in group.layers)):
        return f"{_told(group, found)}, and only a product of its own could take factors"
    return _Plan(group, found, absorbed)


def _as_made(layer: Linear, made: Mapping[str, Vector]) -> Linear:
    factor = made.get(layer.node.name)
    return layer if factor is None else replace(layer, weight=Tensor(layer.scaled(factor)))


def _told(group: _Group, found: Smoothing) -> str:
    return f"the largest channel of {group.root} is {found.spread:.3g} times the median one"


def _reason_against(graph: Graph, group: _Group, seen: Observed | None) -> str | None:
    shared = [layer.node.name for layer in group.layers if not graph.is_private(layer.weight_value)]
    if shared:
        return f"the weight of {shared[0]} is not that layer's alone"
    if seen is None:
        return f"no sample reaches {group.data}"
    if seen.not_finite:
        return f"{seen.not_finite} elements of {group.data} are not finite"
    rows = len(seen.sample) // group.channels.count
    if rows < _FEWEST and len(seen.sample) < _FULL_SAMPLE:
        return f"the samples have {rows} rows for {group.data}, too few to know the ends of each channel"
    if seen.low == seen.high == 0 or not any(np.any(layer.weight.array) for layer in group.layers):
        return "its data or its weights are zero"
    if not all(np.all(np.isfinite(layer.weight.array)) for layer in group.layers):
        return "its weights are not finite"
    return None


def _absorption(graph: Graph, group: _Group) -> Absorption | None:
    readers = linear_readers(graph, group.root, group.channels)
    names = {layer.node.name for layer in group.layers}
    if isinstance(readers, str) or {layer.node.name for layer in readers} != names:
        return None
    return absorption(graph, group.root, group.channels)


def _written(graph: Graph, plans: Sequence[_Plan]) -> Graph:
    editor = Editor(graph)
    layers: dict[str, Linear] = {}
    made: dict[str, Vector] = {}
    read: dict[str, Vector] = {}
    for plan in plans:
        factor = plan.found.factor
        for layer in plan.group.layers:
            layers[layer.node.name], read[layer.node.name] = layer, factor
        if plan.absorbed is None:
            _multiply(graph, editor, plan.group, 1 / factor)
        else:
            multiply_constants(graph, editor, plan.absorbed, 1 / factor)
            layers.update(plan.absorbed.layers)
            made.update(dict.fromkeys(plan.absorbed.layers, 1 / factor))
    for name, layer in layers.items():
        weight = Tensor(rescaled(layer, made.get(name), read.get(name)), layer.weight.dtype)
        editor.update(graph.producer(layer.weight_value).with_attrs(value=weight))
    return editor.finish()


def _multiply(graph: Graph, editor: Editor, group: _Group, factor: Vector) -> None:
    """One product for each value that layers of the group read."""
    products: dict[Value, Value] = {}
    for layer in group.layers:
        data, dtype = layer.data_value, layer.weight.dtype
        if data not in products:
            name = f"{layer.node.name}/smoothed"
            constant = editor.constant(f"{name}/factor", factor.astype(layer.weight.array.dtype), dtype)
            made = [graph.type_of(data)]
            products[data] = editor.add("Mul", name, (data, constant), made, {"T": dtype}).value()
        editor.update(layer.node.with_inputs(products[data], *layer.node.inputs[1:]))


def _finding(group: _Group, plan: _Plan | str) -> Finding:
    if isinstance(plan, str):
        return Finding(group.name, False, plan)
    where = f"in {plan.absorbed.names}" if plan.absorbed else "by a product of its own"
    what = f"{_told(group, plan.found)}; divided {where}, the estimated rounding error is"
    return Finding(group.name, True, f"{what} {plan.found.gain**-0.5:.0%} of what it was")
