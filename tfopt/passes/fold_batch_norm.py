"""Fold batch normalisation into linear layers."""

from __future__ import annotations

from collections.abc import Iterator

from tfopt.ir.graph import Graph, Node, Value
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.channelwise.fold_ahead import fold_ahead
from tfopt.passes.channelwise.fold_behind import fold_behind
from tfopt.passes.channelwise.folding import Folded
from tfopt.passes.channelwise.ops import BATCH_NORMS


@graph_pass
def fold_batch_norm(graph: Graph) -> Graph | Outcome:
    """Fold an inference-mode batch normalisation into the linear layer before or after it.

        %c = Conv2D(%x, %w)                        %c = Conv2D(%x, %w_scaled)
        %n = FusedBatchNormV3(%c, ...)     ->      %b = BiasAdd(%c, %shift)
        %y = Relu(%n)                              %y = Relu(%b)

    What is folded is the whole chain of ops behind a Conv2D, DepthwiseConv2dNative, MatMul or their kin that
    multiply each channel by a constant or add one: FusedBatchNorm in its three versions, the Mul and AddV2 that
    Keras 3 exports (after fold_constants), biases and scalings. One BiasAdd remains, right behind the layer, where
    TensorFlow fuses it. Reshapes and transposes that only move the channels, as in Conv1D, in Dense on sequences,
    where attention splits its heads and in what was ported from channels first, are passed. Each value in the chain
    must have no other reader.

    A chain that stands behind no linear layer is folded into those it leads to. Where their padding mixes zeros into
    what a shift makes, only the scale goes in, and one sum remains.

    New weights are computed in float64 and rounded once; those of 16 bits are left, since that would show.
    Source: Jacob et al., Quantization and Training of Neural Networks, 2018, section 3.2 (arXiv:1712.05877).
    """
    findings: list[Finding] = []
    while True:
        behind = fold_behind(graph)
        ahead = fold_ahead(behind.graph)
        findings += (*behind.findings, *ahead.findings)
        # What went into the next layer became a bias behind it, which may meet another.
        if ahead.graph is behind.graph:
            return Outcome(ahead.graph, (*findings, *_left(ahead.graph, behind, ahead)))
        graph = ahead.graph


def _left(graph: Graph, behind: Folded, ahead: Folded) -> Iterator[Finding]:
    """Why each batch normalisation that is still there is."""
    for node in graph.nodes:
        if node.op in BATCH_NORMS or _is_scaling_before_a_sum(graph, node):
            reasons = [behind.reasons.get(node.name) or _no_layer(graph, node), ahead.reasons.get(node.name)]
            yield Finding(node.name, False, "; ".join(filter(None, reasons)))
        elif node.name in ahead.reasons:
            yield Finding(node.name, False, ahead.reasons[node.name])


def _is_scaling_before_a_sum(graph: Graph, node: Node) -> bool:
    """What looks like the first op of a batch normalisation in the form of Keras 3."""
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
