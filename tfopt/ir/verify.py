"""The specification of a graph, executable: what holds between any two passes.

Structure is checked for every op; arity and types for the ops that passes build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tfopt.errors import InvalidModel
from tfopt.ir.bodies import bodies
from tfopt.ir.facts import BINARY, IDENTITIES, UNARY
from tfopt.ir.graph import Graph, Model, Node
from tfopt.ir.rewrite import is_back_edge
from tfopt.ir.types import DType, Tensor
from tfopt.ir.verify_bodies import control_flow_problems


def verify(graph: Graph, where: str | None = None) -> None:
    """Raise InvalidModel with the first broken rule."""
    for problem in problems(graph):
        raise InvalidModel(f"the graph is broken: {problem}", where=where)


def verify_model(model: Model, where: str | None = None) -> None:
    """`verify` and the rules between graph, signatures, init and assets."""
    verify(model.graph, where)
    for problem in _model_problems(model):
        raise InvalidModel(f"the model is broken: {problem}", where=where)


def problems(graph: Graph) -> Iterator[str]:
    """Every broken rule, in graph order, those of a function in front of its op's."""
    placed: dict[str, Node] = {}
    for node in graph.nodes:
        if node.name in placed:
            yield f"two nodes are called {node.name}"
        for label, body in bodies(node):
            yield from (f"in {node.name}/{label}: {problem}" for problem in problems(body))
        yield from _edge_problems(node, placed, graph)
        yield from _op_problems(graph, node)
        placed[node.name] = node
    yield from _root_problems(graph, placed)
    yield from _grid_problems(graph, placed)


def _edge_problems(node: Node, placed: dict[str, Node], graph: Graph) -> Iterator[str]:
    for value in node.inputs:
        producer = placed.get(value.node)
        if producer is None and value.node in graph and is_back_edge(graph[value.node], node):
            producer = graph[value.node]
        if producer is None:
            yield f"{node.name} ({node.op}) reads {value}, which {_absence(value.node, graph)}"
        elif not 0 <= value.port < len(producer.outputs):
            yield f"{node.name} ({node.op}) reads {value}, but {producer.op} has {len(producer.outputs)} output(s)"
    for control in node.controls:
        if control not in placed:
            yield f"{node.name} ({node.op}) waits for {control}, which {_absence(control, graph)}"


def _absence(name: str, graph: Graph) -> str:
    return "stands behind it" if name in graph else "does not exist"


def _root_problems(graph: Graph, placed: dict[str, Node]) -> Iterator[str]:
    for name in graph.inputs:
        if name not in placed:
            yield f"the input {name} does not exist"
        elif placed[name].op != "Placeholder":
            yield f"the input {name} is a {placed[name].op}, not a Placeholder"
    for value in graph.outputs:
        if value.node not in placed or value.port >= len(placed[value.node].outputs):
            yield f"the output {value} does not exist"
    for name in graph.targets:
        if name not in placed:
            yield f"the target {name} does not exist"


def _grid_problems(graph: Graph, placed: dict[str, Node]) -> Iterator[str]:
    for value, grid in graph.grids.items():
        if value.node not in placed or value.port >= len(placed[value.node].outputs):
            yield f"{value}, which has a grid, does not exist"
            continue
        made, constant = graph.type_of(value), graph.constant(value)
        problem = grid.problem(made.shape.dims)
        if made.dtype is not DType.FLOAT32:
            yield f"{value} has a grid, and is {made.dtype}"
        elif problem is not None:
            yield f"the grid of {value}: {problem}"
        elif constant is not None and not np.array_equal(grid.snapped(constant.array), constant.array):
            yield f"{value} does not lie on its grid"


def _op_problems(graph: Graph, node: Node) -> Iterator[str]:
    rule = _RULES.get(node.op)
    for problem in control_flow_problems(node):
        yield f"{node.name} ({node.op}): {problem}"
    # A dangling edge is reported already, and the rules below follow edges.
    if rule is not None and all(v.node in graph and v.port < len(graph[v.node].outputs) for v in node.inputs):
        for problem in rule(graph, node):
            yield f"{node.name} ({node.op}): {problem}"


_Rule = Callable[[Graph, Node], Iterator[str]]


def _const(graph: Graph, node: Node) -> Iterator[str]:
    payload = node.attrs.get("value")
    if not isinstance(payload, Tensor):
        yield "has no tensor"
    elif node.outputs != (payload.type,):
        yield f"says {', '.join(map(str, node.outputs))} but holds {payload.type}"
    if node.inputs:
        yield "has inputs"


def _arity(count: int, same_dtype: bool = True) -> _Rule:
    def rule(graph: Graph, node: Node) -> Iterator[str]:
        if len(node.inputs) != count:
            yield f"takes {count} inputs, has {len(node.inputs)}"
        elif same_dtype and len({graph.type_of(value).dtype for value in node.inputs}) > 1:
            yield "mixes dtypes: " + ", ".join(str(graph.type_of(value)) for value in node.inputs)
        if len(node.outputs) != 1:
            yield f"makes 1 output, has {len(node.outputs)}"

    return rule


def _linear(rank: int, channels: Callable[[tuple[int | None, ...]], int | None]) -> _Rule:
    """A layer whose second input is a filter of `rank` dims; the output's last dim (NHWC) is what `channels` says."""
    arity = _arity(2)

    def rule(graph: Graph, node: Node) -> Iterator[str]:
        yield from arity(graph, node)
        if len(node.inputs) != 2:
            return
        dims = graph.type_of(node.inputs[1]).shape.dims
        if dims is None:
            return
        if len(dims) != rank:
            yield f"filter has rank {len(dims)}, not {rank}"
            return
        made = node.outputs[0].shape.dims
        wanted = channels(dims)
        last_is_channel = node.attrs.get("data_format", b"NHWC") == b"NHWC"
        if made and last_is_channel and None not in (made[-1], wanted) and made[-1] != wanted:
            yield f"makes {made[-1]} channels, its filter {wanted}"

    return rule


def _depthwise_channels(dims: tuple[int | None, ...]) -> int | None:
    return None if dims[2] is None or dims[3] is None else dims[2] * dims[3]


def _matmul(graph: Graph, node: Node) -> Iterator[str]:
    yield from _arity(2)(graph, node)
    if len(node.inputs) != 2:
        return
    left, right = (graph.type_of(value).shape.dims for value in node.inputs)
    if left is None or right is None or len(left) != 2 or len(right) != 2:
        return
    inner = left[0 if node.attrs.get("transpose_a") else 1], right[1 if node.attrs.get("transpose_b") else 0]
    if None not in inner and inner[0] != inner[1]:
        yield f"multiplies {left} by {right}"


_RULES: dict[str, _Rule] = {
    "Const": _const,
    "Conv2D": _linear(4, lambda dims: dims[3]),
    "DepthwiseConv2dNative": _linear(4, _depthwise_channels),
    "MatMul": _matmul,
    "BiasAdd": _arity(2),
    "Placeholder": _arity(0),
    **{op: _arity(1) for op in UNARY | IDENTITIES},
    **{op: _arity(2) for op in BINARY},
}


def _model_problems(model: Model) -> Iterator[str]:
    graph = model.graph
    for key, signature in model.signatures.items():
        for name, entry in signature.inputs.items():
            if entry.node not in graph.inputs:
                yield f"input {name} of signature {key} is {entry.node}, which is no input of the graph"
            elif graph[entry.node].outputs[0].dtype is not entry.type.dtype:
                yield f"input {name} of signature {key} is {entry.type}, its node {graph[entry.node].outputs[0]}"
        for name, out in signature.outputs.items():
            if not 0 <= out.position < len(graph.outputs):
                yield f"output {name} of signature {key} has no place among the graph's outputs"
            elif (made := graph.type_of(graph.outputs[out.position])).dtype is not out.type.dtype:
                yield f"output {name} of signature {key} is {out.type}, its value {made}"
    if model.init is not None and model.init not in graph.targets:
        yield f"the initialiser {model.init} is no target of the graph"
    for asset in model.assets:
        if asset.node not in graph:
            yield f"asset {asset.filename} feeds {asset.node}, which does not exist"
