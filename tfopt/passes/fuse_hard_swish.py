"""Write hard-swish in the one form that TensorFlow and TFLite both know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, numpy_dtype
from tfopt.passes.arithmetic.factors import close, multiplied, number, plus
from tfopt.passes.base import Finding, Outcome, graph_pass


@graph_pass
def fuse_hard_swish(graph: Graph) -> Graph | Outcome:
    """Write hard-swish as (x relu6(x + 3)) / 6, the quotient as a product.

        %a = Mul(%x, 0.1667)                          %a = AddV2(%x, 3)
        %b = AddV2(%x, 3)                       ->    %b = Relu6(%a)
        %c = Relu6(%b)                                %c = Mul(%x, %b)
        %y = Mul(%a, %c)                              %y = Mul(%c, 0.1667)

    Howard et al., "Searching for MobileNetV3" (2019), https://arxiv.org/abs/1905.02244. In this form TensorFlow
    computes it in the kernel of the convolution and bias before it, and the TFLite converter makes it one op.
    """
    editor = Editor(graph)
    findings = []
    for node in graph.by_op.get("Relu6", ()):
        added = plus(graph, graph.producer(node.inputs[0]))
        if added is None or added[0] != 3.0 or node.controls:
            continue
        root = _root(graph, node, added[1])
        if root is None:
            findings.append(Finding(node.name, False, f"relu6(x + 3) is not multiplied by {added[1]} / 6"))
        elif root.outputs[0].dtype is DType.FLOAT16:
            findings.append(Finding(root.name, False, "x relu6(x + 3) would overflow float16 where x is above 10,917"))
        elif not _is_canonical(graph, root, node, added[1]):
            _write(graph, editor, root, node, added[1])
            findings.append(Finding(root.name, True, "hard-swish"))
    return Outcome(editor.finish(), tuple(findings))


def _root(graph: Graph, node: Node, base: Value) -> Node | None:
    """The product that is the whole of a hard-swish of `base`."""
    made = graph.type_of(base)
    for product, by in multiplied(graph, node.value()):
        same = made.shape.dims is not None and product.outputs == (made,)
        if by.base == base and same and close(graph, base, by.factor, 1 / 6):
            return product
    return None


def _is_canonical(graph: Graph, root: Node, node: Node, base: Value) -> bool:
    inner = graph.producer(root.inputs[0])
    is_scaled = root.op == "Mul" and number(graph, root.inputs[1]) is not None
    is_known = is_scaled and inner.op == "Mul" and inner.inputs == (base, node.value())
    return is_known and _are_named_in_order(graph, node, base)


def _are_named_in_order(graph: Graph, node: Node, base: Value) -> bool:
    """TensorFlow's optimizer sorts the operands of a product by their names, and knows this one with the bias first."""
    return graph.producer(base).op != "BiasAdd" or base.node < node.name


def _write(graph: Graph, editor: Editor, root: Node, node: Node, base: Value) -> None:
    made = root.outputs[0]
    attrs = {"T": made.dtype}
    if not _are_named_in_order(graph, node, base):
        node = editor.add(node.op, f"{base.node}/relu6", node.inputs, node.outputs, node.attrs)
    product = editor.add("Mul", f"{root.name}/product", (base, node.value()), [made], attrs)
    sixth = editor.constant(f"{root.name}/sixth", np.array(1 / 6, numpy_dtype(made.dtype)), made.dtype)
    editor.update(replace(root, op="Mul", inputs=(product.value(), sixth), attrs=attrs))
