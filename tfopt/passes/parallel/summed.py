"""Merge linear layers of one tensor whose results are summed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import TRANSPOSED, Linear, Vector
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding, Outcome
from tfopt.passes.channelwise.biased import biased
from tfopt.passes.channelwise.folding import NewWeights, fits, input_channels
from tfopt.passes.channelwise.ops import CHANNELWISE, Affine, affine
from tfopt.passes.layout.window import Window, window, window_pads

_SUMS = frozenset({"Add", "AddV2", "Sub"})
_DENSE = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2"})


@dataclass(frozen=True, slots=True)
class _Branch:
    """One side of a sum: what it adds to the weight and the bias of the layer that both become."""

    weight: NDArray[np.float64]
    bias: Vector
    told: str


def merge_summed(graph: Graph) -> Outcome:
    """Each sum of two branches that read one tensor as one layer."""
    editor = Editor(graph)
    weights = NewWeights(graph, editor)
    findings = []
    taken: set[str] = set()
    for node in graph.nodes:
        if node.op not in _SUMS or node.controls or node.inputs[0] == node.inputs[1]:
            continue
        if not graph.is_read(node.value()):
            continue
        both = _both(graph, node)
        if isinstance(both, str):
            findings.append(Finding(node.name, False, both))
        if not isinstance(both, _Both) or not taken.isdisjoint(both.layers):
            continue
        taken.update(both.layers)
        _write(editor, weights, node, both)
        base = both.base.node
        findings.append(Finding(node.name, True, f"{both.told} added to {base.op} {base.name}"))
    return Outcome(editor.finish(), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Both:
    """A sum as one layer: `base` with another weight and bias."""

    base: Linear
    weight: NDArray[np.float64]
    bias: Vector
    layers: frozenset[str]
    told: str


def _both(graph: Graph, node: Node) -> _Both | str | None:
    """The sum as one layer, None when it is not of two branches of one tensor, or why they stay."""
    reason = None
    for large, other in ((0, 1), (1, 0)):
        made = _layer(graph, node.inputs[large])
        branch = None if made is None else _branch(graph, node.inputs[other], made[0])
        if made is not None and isinstance(branch, _Branch):
            return _added(graph, node, large, made, branch)
        reason = reason or branch
    return reason if isinstance(reason, str) else None


def _added(graph: Graph, node: Node, large: int, made: tuple[Linear, Vector], branch: _Branch) -> _Both | str:
    base, bias = made
    signs = [1.0, -1.0] if node.op == "Sub" else [1.0, 1.0]
    weight = signs[large] * base.weight.array.astype(np.float64) + signs[1 - large] * branch.weight
    total = signs[large] * bias + signs[1 - large] * branch.bias
    if not fits(weight, base) or not fits(total, base):
        return "the weights added up would overflow"
    layers = [layer for layer in (_layer(graph, value) for value in node.inputs) if layer is not None]
    return _Both(base, weight, total, frozenset(layer.node.name for layer, _ in layers), branch.told)


def _layer(graph: Graph, value: Value) -> tuple[Linear, Vector] | None:
    """The linear layer and the bias that make a value which nobody else reads."""
    if not graph.is_private(value):
        return None
    made = biased(graph, value)
    if isinstance(made, str) or made.layer.node.op in TRANSPOSED or made.layer.groups != 1:
        return None
    return made.layer, made.bias


def _branch(graph: Graph, value: Value, base: Linear) -> _Branch | str | None:
    """What `value` is beside the layer `base`, as a weight of that; None when they have nothing in common, or why
    not where somebody would expect it."""
    other = _layer(graph, value)
    if other is not None:
        layer, bias = other
        if layer.data_value != base.data_value:
            return None
        if layer.node.op != base.node.op or layer.weight.dtype != base.weight.dtype:
            return f"{layer.node.name} is a {layer.node.op}, {base.node.name} a {base.node.op}"
        if (layer.in_channels, layer.channels) != (base.in_channels, base.channels):
            return f"{layer.node.name} makes {layer.channels} channels, {base.node.name} {base.channels}"
        weight = _fitted(graph, layer, base)
        return weight if isinstance(weight, str) else _Branch(weight, bias, f"{layer.node.op} {layer.node.name}")
    passed = _passed(graph, value, base)
    if passed is None:
        return None
    weight = _identity(graph, base)
    if isinstance(weight, str):
        return weight
    return _Branch(_scaled(base, weight, passed.scale), passed.shift, f"{base.data_value}, scaled and shifted or not,")


def _passed(graph: Graph, value: Value, base: Linear) -> Affine | None:
    """What `value` is of the tensor that `base` reads, when only channelwise ops stand between."""
    channels = input_channels(base)
    effect = Affine.identity(channels.count)
    while value != base.data_value:
        node = graph.producer(value)
        varying = [read for read in node.inputs if graph.constant(read) is None]
        if node.op not in CHANNELWISE or len(varying) != 1 or node.controls or not graph.is_private(value):
            return None
        step = affine(graph, node, varying[0], channels)
        if isinstance(step, str):
            return None
        effect, value = step.then(effect), varying[0]
    return effect


def _fitted(graph: Graph, layer: Linear, base: Linear) -> NDArray[np.float64] | str:
    """The weight of `layer` in the shape of `base`'s, zeros around it."""
    array: NDArray[np.float64] = layer.weight.array.astype(np.float64)
    if base.node.op in _DENSE:
        if any(one.node.attrs.get(flag) for one in (layer, base) for flag in ("transpose_a", "adj_x")):
            return f"{layer.node.name} or {base.node.name} reads its input transposed"
        return array if layer.in_axis == base.in_axis else array.T
    slides, into = window(graph, layer.node), window(graph, base.node)
    if isinstance(slides, str) or isinstance(into, str) or layer.axis != base.axis:
        return f"the windows of {layer.node.name} and {base.node.name} are not known"
    offsets = _offsets(graph, layer, slides, base, into)
    if isinstance(offsets, str):
        return offsets
    spread = np.zeros((*base.weight.array.shape[: len(offsets)], *array.shape[len(offsets) :]))
    places = tuple(slice(at, at + size) for at, size in zip(offsets, array.shape, strict=False))
    spread[places] = array
    return spread


def _offsets(graph: Graph, layer: Linear, slides: Window, base: Linear, into: Window) -> list[int] | str:
    """At which element of the larger window the smaller one begins, axis by axis."""
    told = f"the window of {layer.node.name} does not lie within that of {base.node.name}"
    sizes = layer.weight.array.shape, base.weight.array.shape
    if _geometry(layer) == _geometry(base) and sizes[0][: len(into.axes)] == sizes[1][: len(into.axes)]:
        return [0] * len(into.axes)
    pads, base_pads = window_pads(graph, layer.node), window_pads(graph, base.node)
    if pads is None or base_pads is None:
        return f"the padding of {layer.node.name} or {base.node.name} depends on the size of what they read"
    dims = graph.type_of(base.data_value).shape.dims
    offsets = []
    for at, (small, large) in enumerate(zip(slides.axes, into.axes, strict=True)):
        size, larger = sizes[0][at], sizes[1][at]
        dilation = (large.reach - 1) // (larger - 1) if larger > 1 else 1
        begin = base_pads[large.at][0] - pads[small.at][0]
        length = None if dims is None else dims[large.at]
        as_many = large.steps(length, base_pads[large.at]) == small.steps(length, pads[small.at])
        inside = begin % dilation == 0 and 0 <= begin // dilation <= larger - size
        if not as_many or not inside or (size - 1) * dilation + 1 != small.reach:
            return told
        offsets.append(begin // dilation)
    return offsets


def _geometry(layer: Linear) -> list[object]:
    keys = ("strides", "padding", "explicit_paddings", "dilations", "data_format")
    return [layer.node.attrs.get(key) for key in keys]


def _identity(graph: Graph, base: Linear) -> NDArray[np.float64] | str:
    """The weight with which `base` would hand on what it reads."""
    shape = base.weight.array.shape
    told = f"{base.node.name} makes something of another shape than what it reads"
    if base.channels != base.in_channels or any(base.node.attrs.get(flag) for flag in ("transpose_a", "adj_x")):
        return told
    ones = np.ones((*shape[2:], 1)) if base.node.op == "DepthwiseConv2dNative" else np.eye(base.channels)
    if base.node.op in _DENSE:
        return ones
    slides, pads = window(graph, base.node), window_pads(graph, base.node)
    if isinstance(slides, str) or pads is None or any(axis.stride != 1 for axis in slides.axes):
        return told
    weight = np.zeros(shape)
    centre = []
    for at, axis in enumerate(slides.axes):
        dilation = (axis.reach - 1) // (shape[at] - 1) if shape[at] > 1 else 1
        before, behind = pads[axis.at]
        if before + behind != axis.reach - 1 or before % dilation:
            return told
        centre.append(before // dilation)
    weight[tuple(centre)] = ones.reshape(shape[len(centre) :])
    return weight


def _scaled(base: Linear, identity: NDArray[np.float64], scale: Vector) -> NDArray[np.float64]:
    shape = [dim if axis in base.out_axes else 1 for axis, dim in enumerate(identity.shape)]
    return np.asarray(identity * scale.reshape(shape))


def _write(editor: Editor, weights: NewWeights, node: Node, both: _Both) -> None:
    base = both.base
    array = both.weight.astype(base.weight.array.dtype)
    weight = editor.constant(f"{base.node.name}/weight", array, base.weight.dtype)
    editor.update(base.node.with_inputs(base.data_value, weight))
    editor.redirect(node.value(), weights.add_bias(base, both.bias))
