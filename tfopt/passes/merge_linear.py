"""Merge consecutive linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.facts import macs
from tfopt.ir.graph import AttrValue, Graph, Node
from tfopt.ir.linear import LINEAR, TRANSPOSED, Linear, Vector
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.channelwise.biased import Biased, biased
from tfopt.passes.channelwise.folding import NewWeights, fits, foldable
from tfopt.passes.layout.window import window, window_pads

_MATRICES = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2"})
_GEOMETRY = ("strides", "padding", "explicit_paddings", "dilations")


@graph_pass
def merge_linear(graph: Graph) -> Graph | Outcome:
    """Merge two linear layers with nothing between them into one, where that takes no more work and no more weights.

        %a = MatMul(%x, %w1)                          %m = MatMul(%x, %w1_times_w2)
        %b = BiasAdd(%a, %b1)                   ->    %y = BiasAdd(%m, %b1_through_w2)
        %y = MatMul(%b, %w2)

    Two MatMuls, a convolution and a 1x1 convolution behind or before it, a depthwise convolution and the 1x1
    convolution behind it. A bias of the first goes through the second, unless that pads: zeros are not biased.
    Layers that were split to save work, such as the two halves of a bottleneck, stay split.

    The product of the weights is computed in float64 and rounded once. An input that is not finite makes a result that
    is not finite of both forms, be it NaN in one and infinity in the other.
    """
    findings: list[Finding] = []
    while True:
        merged = _sweep(graph)
        findings += [finding for finding in merged.findings if finding.done or merged.graph is graph]
        if merged.graph is graph:
            return Outcome(graph, tuple(findings))
        graph = merged.graph


def _sweep(graph: Graph) -> Outcome:
    """Merge pairs that have no layer in common."""
    editor = Editor(graph)
    weights = NewWeights(graph, editor)
    findings = []
    taken: set[str] = set()
    for node in graph.nodes:
        if node.op not in LINEAR - TRANSPOSED or not graph.is_private(node.inputs[0]):
            continue
        if not graph.is_read(node.value()):
            continue
        first = biased(graph, node.inputs[0])
        second = foldable(graph, node)
        if isinstance(first, str) or isinstance(second, str) or first.layer.node.name in taken:
            continue
        merged = _merged(graph, first, second)
        if isinstance(merged, str):
            findings.append(Finding(node.name, False, f"is not merged with {first.layer.node.name}: {merged}"))
            continue
        taken.update((node.name, first.layer.node.name))
        _write(editor, weights, first, second, merged)
        findings.append(Finding(node.name, True, f"merged with {first.layer.node.op} {first.layer.node.name}"))
    return Outcome(editor.finish(), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Merged:
    """One layer for two: its weight, what it adds, the attributes that are not the second's, and its arithmetic."""

    weight: NDArray[np.float64]
    bias: Vector
    attrs: Mapping[str, AttrValue]
    macs: int


def _merged(graph: Graph, first: Biased, second: Linear) -> _Merged | str:
    layer = first.layer
    if second.node.controls:
        return f"it waits for {', '.join(second.node.controls)}"
    if layer.axis != second.axis or layer.groups != 1 or second.groups != 1:
        return "their channels are in groups, or not on one axis"
    if layer.node.op in _MATRICES and second.node.op in _MATRICES:
        merged = _matrices(graph, first, second)
    elif second.node.op == layer.node.op in ("Conv2D", "Conv3D") or _is_separable(layer, second):
        merged = _convolutions(graph, first, second)
    else:
        merged = f"a {second.node.op} behind a {layer.node.op} is no layer of either kind"
    return merged if isinstance(merged, str) else _reason_against(graph, layer, second, merged) or merged


def _is_separable(first: Linear, second: Linear) -> bool:
    return first.node.op == "DepthwiseConv2dNative" and second.node.op == "Conv2D"


def _reason_against(graph: Graph, first: Linear, second: Linear, merged: _Merged) -> str | None:
    apart = macs(graph, first.node) + macs(graph, second.node)
    if merged.macs > apart:
        return f"it would take {merged.macs:,} multiplications instead of {apart:,}"
    size, sizes = merged.weight.size, first.weight.array.size + second.weight.array.size
    if size > sizes:
        return f"it would have {size:,} weights instead of {sizes:,}"
    if not fits(merged.weight, second) or not fits(merged.bias, second):
        return "the merged weights would overflow"
    return None


def _matrices(graph: Graph, first: Biased, second: Linear) -> _Merged | str:
    if any(layer.node.attrs.get(flag) for layer in (first.layer, second) for flag in ("transpose_a", "adj_x")):
        return "one of them reads its input transposed"
    product = _matrix(first.layer) @ _matrix(second)
    weight = product if second.in_axis == 0 else product.T
    amount = macs(graph, second.node) * product.shape[0] // max(second.in_channels, 1)
    return _Merged(weight, second.response(first.bias), {}, amount)


def _matrix(layer: Linear) -> NDArray[np.float64]:
    """[in, out]"""
    array: NDArray[np.float64] = layer.weight.array.astype(np.float64)
    return array if layer.in_axis == 0 else array.T


def _convolutions(graph: Graph, first: Biased, second: Linear) -> _Merged | str:
    layer = first.layer
    behind = second.weight.array.astype(np.float64)
    if _is_pointwise(graph, second):
        geometry = {key: layer.node.attrs[key] for key in _GEOMETRY if key in layer.node.attrs}
        if layer.node.op == "DepthwiseConv2dNative":
            filters = behind.reshape(*layer.weight.array.shape[2:], -1)
            weight = np.einsum("hwcm,cmo->hwco", layer.weight.array.astype(np.float64), filters)
            amount = macs(graph, layer.node) * second.channels // int(layer.weight.array.shape[3])
        else:
            weight = layer.weight.array.astype(np.float64) @ behind.reshape(behind.shape[-2:])
            amount = macs(graph, layer.node) * second.channels // layer.channels
        return _Merged(weight, second.response(first.bias), geometry, amount)
    if layer.node.op == "DepthwiseConv2dNative" or not _is_pointwise(graph, layer):
        return "neither of them is a 1x1 convolution without strides"
    pads = window_pads(graph, second.node)
    if np.any(first.bias) and (pads is None or any(any(pad) for pad in pads)):
        return f"the padding of {second.node.name} mixes zeros into the bias"
    ahead = layer.weight.array.astype(np.float64).reshape(layer.weight.array.shape[-2:])
    amount = macs(graph, second.node) * layer.in_channels // second.in_channels
    return _Merged(ahead @ behind, second.response(first.bias), {}, amount)


def _is_pointwise(graph: Graph, layer: Linear) -> bool:
    slides = window(graph, layer.node)
    if isinstance(slides, str) or any(axis.reach != 1 or axis.stride != 1 for axis in slides.axes):
        return False
    pads = window_pads(graph, layer.node)
    return pads is not None and not any(any(pad) for pad in pads)


def _write(editor: Editor, weights: NewWeights, first: Biased, second: Linear, merged: _Merged) -> None:
    node: Node = second.node
    dtype: Any = second.weight.array.dtype
    weight = editor.constant(f"{node.name}/weight", merged.weight.astype(dtype), second.weight.dtype)
    inputs = (first.layer.data_value, weight)
    editor.update(node.with_attrs(**merged.attrs).with_inputs(*inputs))
    editor.redirect(node.value(), weights.add_bias(second, merged.bias))
