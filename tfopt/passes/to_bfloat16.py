"""Compute linear layers, and what lies between them, in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tfopt.ir.graph import Graph, Model, Node, Value
from tfopt.ir.linear import LINEAR
from tfopt.ir.types import DType
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.cast_region import cast_region
from tfopt.passes.quantization.eligible import check_patterns, layers_in_functions, left_out, quantized_already

#: Layers that oneDNN has bfloat16 kernels of.
_LAYERS: Final = frozenset({"BatchMatMul", "BatchMatMulV2", "Conv2D", "DepthwiseConv2dNative", "MatMul"})

#: Between two layers these are as good in bfloat16: they round no more than a layer does, or not at all.
_BETWEEN: Final = frozenset(
    {
        *("Add", "AddV2", "AvgPool", "BiasAdd", "ConcatV2", "Erf", "ExpandDims", "Identity", "LeakyRelu", "MaxPool"),
        *("Maximum", "Minimum", "Mul", "Pad", "Relu", "Relu6", "Reshape", "Shape", "Sigmoid", "Slice", "Split"),
        *("Squeeze", "StridedSlice", "Tanh", "Transpose"),
    }
)

#: Through these a layer makes an output by itself.
_ENDINGS: Final = _BETWEEN - {"ConcatV2", "Maximum", "Minimum", "Mul", "Split"} | {"LogSoftmax", "Softmax"}


@graph_pass(exact=False)
def to_bfloat16(model: Model, *, only: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> ModelOutcome:
    """Compute linear layers, and what lies between them, in bfloat16.

        %y = Relu(Conv2D(%x, %w))    ->    %x16 = Cast(%x) {DstT: bfloat16}
                                           %y16 = Relu(Conv2D(%x16, %w16))
                                           %y = Cast(%y16) {DstT: float32}

    Convolutions, depthwise ones and matrix products of float32, of computed tensors too. Elementwise ops, pools and
    what moves numbers stay in bfloat16 from layer to layer; norms, means and Softmax compute in float32, and so does
    the layer that makes an output. `only` and `skip` are patterns (as in a shell) of layers; those in loops and
    branches stay float32. Raises UsageError for a pattern that matches no layer.
    Source: Kalamkar et al. 2019, https://arxiv.org/abs/1905.12322.
    """
    graph = model.graph
    already = quantized_already(graph)
    if already is not None:
        return ModelOutcome(model, (already,))
    layers = [node for node in graph.nodes if node.op in LINEAR]
    beyond = tuple(layers_in_functions(graph))
    names = [*(node.name for node in layers), *(finding.node for finding in beyond)]
    check_patterns(names, only, "only", where="to_bfloat16")
    check_patterns(names, skip, "skip", where="to_bfloat16")
    last, bound = _last_layers(graph), _bound(graph)
    reasons = {node.name: left_out(node.name, only, skip) or _reason(node, last, bound) for node in layers}
    findings = (*_told(reasons), *beyond)
    chosen = frozenset(name for name, reason in reasons.items() if reason is None)
    if not chosen:
        return ModelOutcome(model, findings)
    changed = cast_region(graph, _region(graph, chosen, bound), DType.BFLOAT16)
    return ModelOutcome(model.with_graph(changed), findings)


def _told(reasons: Mapping[str, str | None]) -> Iterator[Finding]:
    for name, reason in reasons.items():
        yield Finding(name, reason is None, f"stays as it is: {reason}" if reason else "computes in bfloat16")


def _reason(node: Node, last: frozenset[str], bound: frozenset[str]) -> str | None:
    """Why a layer stays as it is, if so."""
    dtype = node.outputs[0].dtype
    if dtype is not DType.FLOAT32:
        return f"it computes in {dtype}, and only float32 becomes bfloat16"
    if node.op not in _LAYERS:
        return f"there is no fast {node.op} of bfloat16"
    if node.attrs.get("data_format", b"NHWC") != b"NHWC":
        return "its channels come first"
    if node.name in bound:
        return "it waits for another node, or another for it"
    if node.name in last:
        return "it makes an output"
    return None


def _bound(graph: Graph) -> frozenset[str]:
    """What control edges hold in place, and what is asked for by name."""
    waiting = (name for node in graph if node.controls for name in (node.name, *node.controls))
    return frozenset((*waiting, *graph.targets, *graph.inputs))


def _last_layers(graph: Graph) -> frozenset[str]:
    """The layers behind which there is nothing but endings: what these round to can be seen."""
    found: set[str] = set()
    for value in graph.outputs:
        node = graph.producer(value)
        while node.op in _ENDINGS:
            computed = _computed(graph, node)
            if len(computed) != 1:
                break
            node = graph.producer(computed[0])
        if node.op in LINEAR:
            found.add(node.name)
    return frozenset(found)


def _region(graph: Graph, layers: frozenset[str], bound: frozenset[str]) -> frozenset[str]:
    """The layers, and whatever reads nothing else than what they made, and constants."""
    found = set(layers)
    for node in graph.nodes:
        if node.op in _BETWEEN and node.attrs.get("T") is DType.FLOAT32 and node.name not in bound:
            computed = _computed(graph, node)
            if computed and all(value.node in found for value in computed):
                found.add(node.name)
    return frozenset(found)


def _computed(graph: Graph, node: Node) -> list[Value]:
    return [
        value for value in node.inputs if graph.type_of(value).dtype is DType.FLOAT32 and graph.constant(value) is None
    ]
