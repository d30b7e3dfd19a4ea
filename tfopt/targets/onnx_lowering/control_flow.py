"""Loops and branches, whose bodies become graphs within the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from tfopt.ir import Graph, Node, TensorType, Value
from tfopt.targets.onnx_lowering.builder import ELEMENT_TYPES, Builder, Rule, refused, value_info


def _if(b: Builder, node: Node) -> None:
    """The branches read what they need from around them: ONNX's have no arguments."""
    arguments = [b.get(value) for value in node.inputs[1:]]
    branches = [_branch(b, _body(node, key), arguments, node) for key in ("then_branch", "else_branch")]
    results = b.emit_many(
        "If", [_condition(b, node)], len(node.outputs), then_branch=branches[0], else_branch=branches[1]
    )
    for port, name in enumerate(results):
        b.bind(node.value(port), name)


def _condition(b: Builder, node: Node) -> str:
    kind = b.type(node.inputs[0])
    if kind.shape.rank != 0:
        raise refused(node, "its condition is no scalar")
    name = b.get(node.inputs[0])
    return name if kind.dtype.value == "bool" else b.emit("Cast", name, to=onnx.TensorProto.BOOL)


def _while(b: Builder, node: Node) -> None:
    condition, body = _body(node, "cond"), _body(node, "body")
    state = [b.get(value) for value in node.inputs]
    begins = _call(b, condition, state, b.nodes)[0]
    graph = _loop_body(b, node, condition, body)
    results = b.emit_many("Loop", ["", begins, *state], len(node.outputs), body=graph)
    for port, name in enumerate(results):
        b.bind(node.value(port), name)


def _loop_body(b: Builder, node: Node, condition: Graph, body: Graph) -> onnx.GraphProto:
    """Its inputs: the number of the round, whether to go on, the state. Its outputs: whether to go on, the state."""
    kinds = [body[name].outputs[0] for name in body.inputs]
    for kind in kinds:
        if kind.dtype not in ELEMENT_TYPES:
            raise refused(node, f"it carries a {kind.dtype} from round to round, which ONNX lacks")
    counter, going_on = b.unique(f"{node.name}/round"), b.unique(f"{node.name}/going_on")
    state = [b.unique(f"{node.name}/{name}") for name in body.inputs]
    nodes: list[onnx.NodeProto] = []
    results = _call(b, body, state, nodes)
    goes_on = _call(b, condition, results, nodes)[0]
    outputs = _named(b, [goes_on, *results], nodes)
    scalar = onnx.helper.make_tensor_value_info
    return onnx.helper.make_graph(
        nodes,
        f"{node.name}/body",
        [
            scalar(counter, onnx.TensorProto.INT64, []),
            scalar(going_on, onnx.TensorProto.BOOL, []),
            *(value_info(name, kind, kind.shape.dims) for name, kind in zip(state, kinds, strict=True)),
        ],
        [
            scalar(outputs[0], onnx.TensorProto.BOOL, []),
            *(value_info(name, kind, kind.shape.dims) for name, kind in zip(outputs[1:], kinds, strict=True)),
        ],
    )


def _branch(b: Builder, body: Graph, arguments: Sequence[str], node: Node) -> onnx.GraphProto:
    nodes: list[onnx.NodeProto] = []
    kinds: list[TensorType] = [body.type_of(value) for value in body.outputs]
    outputs = _named(b, _call(b, body, arguments, nodes), nodes)
    infos = [value_info(name, kind, kind.shape.dims) for name, kind in zip(outputs, kinds, strict=True)]
    return onnx.helper.make_graph(nodes, f"{node.name}/branch", [], infos)


def _call(b: Builder, body: Graph, arguments: Sequence[str], nodes: list[onnx.NodeProto]) -> list[str]:
    """Write what a body computes behind `nodes`; gives the names of what it returns."""
    inner = Builder(body, b.file, nodes)
    for placeholder, name in zip(body.inputs, arguments, strict=True):
        inner.bind(Value(placeholder), name)
    inner.lower(body.outputs)
    return [inner.get(value) for value in body.outputs]


def _named(b: Builder, results: Sequence[str], nodes: list[onnx.NodeProto]) -> list[str]:
    """A graph's outputs are its own nodes' and all different: what is passed through gets a node."""
    names = []
    for result in results:
        names.append(b.unique(f"{result}/out"))
        nodes.append(onnx.helper.make_node("Identity", [result], [names[-1]], name=names[-1]))
    return names


def _body(node: Node, key: str) -> Graph:
    body = node.attrs.get(key)
    if not isinstance(body, Graph):
        raise refused(node, f"it has no {key}")
    return body


RULES: Mapping[str, Rule] = {"If": _if, "StatelessIf": _if, "While": _while, "StatelessWhile": _while}
