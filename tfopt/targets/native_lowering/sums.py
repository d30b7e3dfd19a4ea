"""Sums that a convolution computes into the tensor that it reads beside its data.

oneDNN writes the sum where the summand was. Who else reads the summand must have done so by then: TensorFlow ends the
process where that is not so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from tfopt.ir.fused import Fused
from tfopt.ir.graph import Graph, Value
from tfopt.ir.rewrite import Editor
from tfopt.targets.native_lowering.ops import carries

_SUMS = frozenset({"_FusedQuantizedConv2D"})
#: Input of the op above.
_SUMMAND = 3
#: Hand on the memory of what they read.
_ALIASES = frozenset({"Identity", "Reshape", "Snapshot", "StopGradient", "PreventGradient"})


def sum_problem(graph: Graph, fused: Fused, taken: Iterable[Value], ends: Mapping[str, str]) -> str | None:
    """What keeps a layer from computing its sum with the residual; `taken` are those that other sums write into, `ends`
    says of layers' nodes which node ends the op that they become."""
    residual = fused.residual
    assert residual is not None
    grid, made = graph.grids.get(residual), graph.grids.get(fused.output)
    if fused.layer.node.op != "Conv2D":
        return f"TensorFlow's integer {fused.layer.node.op} takes no sum"
    if grid is None or made is None or not (carries(grid) and carries(made)) or grid.signed or made.signed:
        return "TensorFlow sums unsigned numbers only"
    if residual in taken:
        return "another sum writes into what it reads"
    if graph.producer(residual).op in _ALIASES or any(r.op in _ALIASES for r in graph.readers[residual]):
        return "what it would write into is shared"
    later = _descendants(graph, fused.output)
    others = {ends.get(reader.name, reader.name) for reader in graph.readers[residual]} - set(fused.nodes)
    if not others.isdisjoint(later):
        return "what it would write into is read later"
    if not _fed(graph, others) <= _fed(graph, {fused.output.node}):
        return "what it would write into is read by what other inputs feed"
    return None


def _descendants(graph: Graph, value: Value) -> set[str]:
    found = {value.node}
    behind = False
    for node in graph.nodes:
        behind = behind or node.name == value.node
        if behind and (any(v.node in found for v in node.inputs) or not found.isdisjoint(node.controls)):
            found.add(node.name)
    return found - {value.node}


def _fed(graph: Graph, names: Collection[str]) -> set[str]:
    """The inputs that these nodes need: a signature that computes one of them must be called with those."""
    found, pending = set(names), list(names)
    while pending:
        node = graph[pending.pop()]
        before = {*(value.node for value in node.inputs), *node.controls} - found
        found |= before
        pending += before
    return found.intersection(graph.inputs)


def with_readers_first(graph: Graph) -> Graph:
    """Let every sum wait for all others that read its summand."""
    editor = Editor(graph)
    for node in graph.nodes:
        if node.op in _SUMS and b"Sum" in _stages(node.attrs.get("fused_ops")):
            others = {reader.name for reader in graph.readers[node.inputs[_SUMMAND]]} - {node.name}
            editor.update(replace(node, controls=(*node.controls, *sorted(others))) if others else node)
    return editor.finish()


def _stages(attr: object) -> tuple[object, ...]:
    return attr if isinstance(attr, tuple) else ()
