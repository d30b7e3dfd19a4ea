"""Compute equal things once, and keep equal weights once."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.equal import merge_functions
from tfopt.ir.facts import commutes, is_pure
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Tensor
from tfopt.passes.base import Finding, Outcome, graph_pass

_Key: TypeAlias = "tuple[Any, ...]"

_SAMPLES = 16  # elements of a large tensor that are looked at before two are compared whole
_PIECE = 1 << 20  # bytes


@graph_pass
def merge_duplicates(graph: Graph) -> Graph | Outcome:
    """Merge nodes that compute the same: equal op, attributes and inputs, constants of equal content.

        %a = Relu(%x)                         %a = Relu(%x)
        %b = Relu(%x)                   ->    %y = Mul(%a, %a)
        %y = Mul(%a, %b)

    Once equal signatures read one input (share_inputs) all that they compute is equal. Commutative ops match in
    either order. What draws random numbers or has an effect is never merged. One sweep in topological order reaches
    the fixpoint, since a node's inputs are merged before the node is looked at. Functions that are written alike
    become one, and so may the loops and branches that call them.
    """
    merged = merge_functions(graph)
    findings = [
        Finding(new.name, True, f"{new.op} calls a function that is written like another")
        for old, new in zip(graph.nodes, merged.nodes, strict=True)
        if new is not old
    ]
    graph = merged
    editor = Editor(graph)
    kept: dict[_Key, list[Node]] = {}
    same: dict[Value, Value] = {}
    for node in graph.nodes:
        if not is_pure(node) or node.name in graph.targets:
            continue
        alike = kept.setdefault(_key(node, same), [])
        twin = next((other for other in alike if _equal(node, other)), None)
        if twin is None:
            alike.append(node)
            continue
        ports = [node.value(port) for port in range(len(node.outputs))]
        same.update((value, twin.value(value.port)) for value in ports)
        read = [value for value in ports if graph.is_read(value)]
        for value in read:
            editor.redirect(value, same[value])
        if read:
            findings.append(Finding(node.name, True, f"{node.op} equals {twin.name}"))
    return Outcome(editor.finish(), tuple(findings))


def _key(node: Node, same: dict[Value, Value]) -> _Key:
    """Equal for nodes that may be equal; cheap to make and to hash."""
    if node.op == "Const":
        return ("Const", node.outputs, node.controls, _fingerprint(node.tensor))
    inputs = tuple(same.get(value, value) for value in node.inputs) if same else node.inputs
    if commutes(node):
        inputs = tuple(sorted(inputs))
    return (node.op, inputs, node.controls)


def _fingerprint(tensor: Tensor) -> Any:
    array = tensor.array
    if tensor.dtype is DType.STRING:
        return tuple(array.flat[:_SAMPLES])
    if array.size > _SAMPLES:
        return array.flat[:: array.size // _SAMPLES].tobytes()
    return array.tobytes()


def _equal(node: Node, other: Node) -> bool:
    if node.op != "Const":
        return node.attrs == other.attrs and node.outputs == other.outputs
    rest, other_rest = ({k: v for k, v in n.attrs.items() if k != "value"} for n in (node, other))
    return rest == other_rest and _equal_content(node.tensor, other.tensor)


def _equal_content(left: Tensor, right: Tensor) -> bool:
    """Bit for bit, so that 0.0 is not -0.0 and a NaN equals itself."""
    if left is right or left.array is right.array:
        return True
    if left.dtype is DType.STRING:
        return bool(np.array_equal(left.array, right.array))
    return _same_bytes(left.array, right.array)


def _same_bytes(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Compared in pieces, so that two weights of a gigabyte take no third."""
    a, b = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (left, right))
    pieces = range(0, a.size, _PIECE)
    return a.size == b.size and all(np.array_equal(a[at : at + _PIECE], b[at : at + _PIECE]) for at in pieces)
