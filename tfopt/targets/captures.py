"""Variables in the functions of loops and branches: captured as TensorFlow's own are, handed in as arguments.

    %y = While(%x)                                %y = While(%x, %w/variable)
      body: MatMul(%x, %w)                  ->      body: MatMul(%x, ReadVariableOp(%w/variable)), %w/variable

A constant in a function is kept once more for every place that calls the function, a variable is shared by them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from tfopt.ir import DType, Graph, Node, Tensor, TensorType, Value
from tfopt.ir.bodies import CONTROL_FLOW, WHILES, bodies, graphs, map_bodies
from tfopt.ir.graph import AttrValue
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import SCALAR
from tfopt.targets.weights import Variable, add_variable, matrices

_RESOURCE = TensorType(DType.RESOURCE, SCALAR)
#: Functions with arguments for the variables they need, by what makes them differ.
_Done: TypeAlias = "dict[tuple[Graph, tuple[Tensor, ...], bool], Graph]"


def with_captures(graph: Graph, variables: Iterable[Variable], over: int) -> tuple[Graph, tuple[Variable, ...]]:
    """Let functions read variables where they hold float matrices of more than `over` bytes: those of the graph, and
    new ones behind them."""
    chosen = tuple(dict.fromkeys(_captured(graph, over)))
    if not chosen:
        return graph, tuple(variables)
    known = {variable.tensor: variable for variable in variables}
    editor = Editor(graph)
    for tensor, name in dict(_named(graph, chosen)).items():
        if tensor not in known:
            known[tensor] = add_variable(editor, name, tensor)
    handles = {tensor: Value(known[tensor].handle) for tensor in chosen}
    done: _Done = {}
    for node in graph.nodes:
        if node.op in CONTROL_FLOW:
            editor.update(_handed(node, handles, done))
    return editor.finish(), tuple(known.values())


def _captured(graph: Graph, over: int) -> Iterator[Tensor]:
    """The payloads of those constants in functions that become variables. Only control flow says what it does with an
    argument more."""
    for node in graph.nodes:
        if node.op in CONTROL_FLOW:
            for _, body in bodies(node):
                yield from (constant.tensor for constant in matrices(body, over))
                yield from _captured(body, over)


def _named(graph: Graph, tensors: Iterable[Tensor]) -> Iterator[tuple[Tensor, str]]:
    """Each with the names of the constants that hold it, the last one of them first met."""
    wanted = set(tensors)
    for found in reversed(list(graphs(graph))):
        yield from ((n.tensor, n.name) for n in reversed(found.by_op.get("Const", ())) if n.tensor in wanted)


def _handed(node: Node, handles: Mapping[Tensor, Value], done: _Done) -> Node:
    """The node with an argument more for every variable that one of its functions reads."""
    needed = tuple(tensor for tensor in handles if any(_holds(body, tensor) for _, body in bodies(node)))
    if not needed:
        return node
    count = len(needed)
    attrs: dict[str, AttrValue] = dict(node.attrs)
    attrs["T" if node.op in WHILES else "Tin"] = (*_list(node, "T", "Tin"), *(DType.RESOURCE,) * count)
    if node.op in WHILES and attrs.get("output_shapes"):
        attrs["output_shapes"] = (*_list(node, "output_shapes"), *(SCALAR,) * count)
    outputs = (*node.outputs, *(_RESOURCE,) * count) if node.op in WHILES else node.outputs
    inputs = (*node.inputs, *(handles[tensor] for tensor in needed))
    # Reading a variable is stateful for TensorFlow.
    wider = replace(node, op=node.op.removeprefix("Stateless"), inputs=inputs, attrs=attrs, outputs=outputs)
    return map_bodies(wider, lambda label, body: _reading(body, needed, label == "body" and node.op in WHILES, done))


def _list(node: Node, *keys: str) -> tuple[Any, ...]:
    found = next((node.attrs[key] for key in keys if key in node.attrs), ())
    return found if isinstance(found, tuple) else ()


def _holds(body: Graph, tensor: Tensor) -> bool:
    return any(
        (node.op == "Const" and node.tensor is tensor)
        or (node.op in CONTROL_FLOW and any(_holds(inner, tensor) for _, inner in bodies(node)))
        for node in body.nodes
    )


def _reading(body: Graph, needed: tuple[Tensor, ...], hands_on: bool, done: _Done) -> Graph:
    key = body, needed, hands_on
    if key not in done:
        done[key] = _made_reading(body, needed, hands_on, done)
    return done[key]


def _made_reading(body: Graph, needed: tuple[Tensor, ...], hands_on: bool, done: _Done) -> Graph:
    editor = Editor(body)
    names = {node.tensor: node.name for node in reversed(body.by_op.get("Const", ()))}
    handles = {}
    for number, tensor in enumerate(needed):
        wish = f"{names[tensor]}/variable" if tensor in names else f"variable_{number}"
        attrs: dict[str, AttrValue] = {"dtype": DType.RESOURCE, "shape": SCALAR}
        handles[tensor] = editor.add("Placeholder", wish, (), [_RESOURCE], attrs).value()
    for node in body.nodes:
        if node.op == "Const" and node.tensor in handles:
            editor.update(_read(node, handles[node.tensor]))
        elif node.op in CONTROL_FLOW:
            editor.update(_handed(node, handles, done))
    made = editor.finish()
    returned = (*made.outputs, *handles.values()) if hands_on else made.outputs
    return replace(made, inputs=(*made.inputs, *(value.node for value in handles.values())), outputs=returned)


def _read(node: Node, handle: Value) -> Node:
    dtype = node.tensor.dtype
    return Node(node.name, "ReadVariableOp", (handle,), {"dtype": dtype}, node.outputs, node.controls)
