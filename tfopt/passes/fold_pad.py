"""Fold explicit padding into the convolution or pool behind it."""

from __future__ import annotations

import numpy as np

from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.layout.window import CONVOLUTIONS, Pads, Window, explicit_pads, padding_attrs, window

_PADS = frozenset({"Pad", "PadV2"})
_MAX_POOLS = frozenset({"MaxPool", "MaxPool3D"})
#: Never below zero (a NaN stays one, which padding does not hide).
_NOT_NEGATIVE = frozenset({"Abs", "Exp", "Relu", "Relu6", "Sigmoid", "Softmax", "Softplus", "Square"})
#: Ops that only move values or pick some of them.
_PICKING = IDENTITIES | {"ExpandDims", "MaxPool", "Reshape", "Squeeze", "Transpose"}


@graph_pass
def fold_pad(graph: Graph) -> Graph | Outcome:
    """Fold a Pad with zeros into the convolution behind it.

        %p = Pad(%x, [[0, 0], [0, 1], [0, 1], [0, 0]])
        %y = Conv2D(%p, %w) {padding: VALID}             ->    %y = Conv2D(%x, %w) {padding: SAME}

    Keras writes such pads before convolutions with strides. Where the pads are those of SAME, for every size that
    the input may have, SAME is written; it fits Conv2D, DepthwiseConv2dNative, Conv3D, and a MaxPool that reads
    nothing below zero. Otherwise a Conv2D takes them as its own EXPLICIT padding. TensorFlow's depthwise
    convolution has that attribute as well and cannot be trusted with it: its shape function ends the process
    (seen with 2.21).
    """
    editor = Editor(graph)
    findings = []
    for node in graph.nodes:
        if node.op not in _PADS:
            continue
        pads = _zeros(graph, node)
        readers = [r for r in graph.readers.get(node.value(), ()) if r.op in CONVOLUTIONS | _MAX_POOLS]
        for reader in readers:
            made = pads if isinstance(pads, str) else _folded(graph, node, pads, reader)
            if isinstance(made, str):
                findings.append(Finding(node.name, False, made))
                continue
            folded = reader.with_attrs(**made).with_inputs(node.inputs[0], *reader.inputs[1:])
            editor.update(folded)
            findings.append(Finding(node.name, True, f"folded into {reader.op} {reader.name} as {_padding(folded)}"))
    return Outcome(editor.finish(), tuple(findings))


def _zeros(graph: Graph, node: Node) -> Pads | str:
    """How many zeros the node puts where, or why it does something else."""
    if node.controls:
        return f"waits for {', '.join(node.controls)}"
    pads = graph.constant(node.inputs[1])
    if pads is None:
        return f"the paddings are a {graph.producer(node.inputs[1]).op}, not constant"
    if node.op == "PadV2":
        filling = graph.constant(node.inputs[2])
        if filling is None or np.any(filling.array != 0):
            return "pads with something else than zero"
    return tuple((int(before), int(behind)) for before, behind in pads.array)


def _folded(graph: Graph, node: Node, pads: Pads, reader: Node) -> dict[str, AttrValue] | str:
    """What the attributes of the reader become, or why they cannot."""
    slides = window(graph, reader)
    if isinstance(slides, str):
        return slides
    own = explicit_pads(reader, slides.rank)
    if own is None or len(pads) != slides.rank:
        return f"{reader.name} pads its input itself ({_padding(reader)})"
    if reader.inputs[0] != node.value() or node.value() in reader.inputs[1:]:
        return f"{reader.name} reads it as a weight"
    if any(any(pad) for at, pad in enumerate(pads) if at not in [axis.at for axis in slides.axes]):
        return "pads examples or channels too"
    total = tuple((a + c, b + d) for (a, b), (c, d) in zip(pads, own, strict=True))
    return _written(graph, reader, slides, total, node.inputs[0])


def _written(graph: Graph, reader: Node, slides: Window, total: Pads, source: Value) -> dict[str, AttrValue] | str:
    pools = reader.op in _MAX_POOLS
    if pools and not _is_not_negative(graph, source):
        return f"{reader.name} would ignore the zeros, and what it reads may be negative"
    made = padding_attrs(reader, slides, total, graph.type_of(source).shape)
    return made or f"the pads are not those of SAME for every input of {reader.name}, and {reader.op} knows no others"


def _is_not_negative(graph: Graph, value: Value) -> bool:
    node = graph.producer(value)
    while node.op in _PICKING:
        node = graph.producer(node.inputs[0])
    return node.op in _NOT_NEGATIVE


def _padding(node: Node) -> str:
    padding = node.attrs.get("padding", b"")
    return padding.decode() if isinstance(padding, bytes) else str(padding)
