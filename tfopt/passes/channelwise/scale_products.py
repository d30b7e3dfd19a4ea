"""Put a scalar behind a product of two computed matrices before one of them."""

from __future__ import annotations

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.base import Finding, Outcome
from tfopt.passes.channelwise.channels import MOVING

_PRODUCTS = frozenset({"BatchMatMul", "BatchMatMulV2", "MatMul"})
_SCALINGS = frozenset({"Div", "Mul", "RealDiv"})
_BIASES = frozenset({"Add", "AddV2", "BiasAdd"})


def scale_products(graph: Graph) -> Outcome:
    """c * (a @ b) as (c * a) @ b, where a comes from a linear layer that can take c up: the scores of attention."""
    editor = Editor(graph)
    findings = []
    for node in graph.nodes:
        if node.op not in _SCALINGS or node.controls or not graph.is_read(node.value()):
            continue
        scaled = _scaled_product(graph, node)
        if scaled is None:
            continue
        product, constant = scaled
        side = next((at for at in (0, 1) if _comes_from_a_layer(graph, product.inputs[at])), None)
        if side is None:
            findings.append(Finding(node.name, False, f"neither input of {product.name} comes straight from a layer"))
            continue
        _move(graph, editor, node, product, constant, side)
        findings.append(Finding(node.name, True, f"{node.op} put before {product.op} {product.name}"))
    return Outcome(editor.finish(), tuple(findings))


def _scaled_product(graph: Graph, node: Node) -> tuple[Node, Value] | None:
    """The product behind which `node` multiplies by a constant scalar or divides by one, and the scalar."""
    orders = (node.inputs, node.inputs[::-1]) if node.op == "Mul" else (node.inputs,)
    for value, other in orders:
        scalar, product = graph.constant(other), graph.producer(value)
        if scalar is None or scalar.array.shape != () or scalar.dtype not in (DType.FLOAT32, DType.FLOAT64):
            continue
        computed = product.op in _PRODUCTS and all(graph.constant(read) is None for read in product.inputs)
        if computed and not product.controls and graph.is_private(value) and product.inputs[0] != product.inputs[1]:
            return product, other
    return None


def _comes_from_a_layer(graph: Graph, value: Value) -> bool:
    """Only moves and a bias stand between, and nobody else reads what is there."""
    while graph.is_private(value):
        node = graph.producer(value)
        if node.controls:
            return False
        if node.op in LINEAR:
            return graph.constant(node.inputs[1]) is not None
        biased = node.op in _BIASES and graph.constant(node.inputs[1]) is not None
        if node.op not in MOVING and not biased:
            return False
        value = node.inputs[0]
    return False


def _move(graph: Graph, editor: Editor, node: Node, product: Node, constant: Value, side: int) -> None:
    read = product.inputs[side]
    inputs = list(product.inputs)
    made = editor.add(node.op, f"{node.name}/before", (read, constant), (graph.type_of(read),), node.attrs)
    inputs[side] = made.value()
    editor.update(product.with_inputs(*inputs))
    editor.redirect(node.value(), product.value())
