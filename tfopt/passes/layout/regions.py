"""Regions of a graph that work as well in another order of axes, and what that would save.

A region is a connected set of nodes that do not care for the order of their axes. Where it ends, Transposes of one
permutation wait for its values, and others that undo it feed it: all of them go when the region is permuted.
Readers and inputs that want the old order get a Transpose instead, so it must save more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.layout.permuting import Perm, data_inputs, inverse, permuted, rewritten


@dataclass(slots=True)
class Region:
    """`inputs` come from outside and are permuted; `outputs` are values of the region that are read outside."""

    perm: Perm
    nodes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: dict[Value, None] = field(default_factory=dict)
    exits: dict[str, None] = field(default_factory=dict)
    outputs: dict[Value, None] = field(default_factory=dict)


def transpose_perm(sizes: KnownSizes, node: Node) -> Perm | None:
    """The permutation of a Transpose where it is known."""
    return sizes.constant(node.inputs[1]) if node.op == "Transpose" else None


def regions(graph: Graph, sizes: KnownSizes) -> Iterator[Region]:
    """One region for each set of nodes before a Transpose, once for each permutation."""
    seen: set[tuple[str, Perm]] = set()
    for node in graph.by_op.get("Transpose", ()):
        perm = transpose_perm(sizes, node)
        start = node.inputs[0].node
        if perm is None or node.controls or (start, perm) in seen:
            continue
        region = _grown(graph, sizes, start, perm)
        seen.update((name, perm) for name in region.nodes)
        if region.nodes:
            yield region


def _grown(graph: Graph, sizes: KnownSizes, start: str, perm: Perm) -> Region:
    region, stack = Region(perm), [start]
    while stack:
        node = graph[stack.pop()]
        data = None if node.name in region.nodes else data_inputs(graph, node, perm)
        if data is None:
            continue
        region.nodes[node.name] = data
        stack += [node.inputs[at].node for at in data]
        stack += [reader.name for reader in graph.readers.get(node.value(), ())]
    for name, data in region.nodes.items():
        _look_around(graph, sizes, region, graph[name], data)
    return region


def _look_around(graph: Graph, sizes: KnownSizes, region: Region, node: Node, data: tuple[int, ...]) -> None:
    for at in data:
        if node.inputs[at].node not in region.nodes:
            region.inputs[node.inputs[at]] = None
    value = node.value()
    others = [reader for reader in graph.readers.get(value, ()) if reader.name not in region.nodes]
    for reader in others:
        if transpose_perm(sizes, reader) == region.perm and not reader.controls:
            region.exits[reader.name] = None
    if value in graph.output_set or any(reader.name not in region.exits for reader in others):
        region.outputs[value] = None
    # A region node that reads a value of the region by an input that is not permuted, such as a shape.
    inside = (reader for reader in graph.readers.get(value, ()) if reader.name in region.nodes)
    if any(value in _others(reader, region.nodes[reader.name]) for reader in inside):
        region.outputs[value] = None


def _others(node: Node, data: tuple[int, ...]) -> Iterable[Value]:
    return (value for at, value in enumerate(node.inputs) if at not in data)


def saved(graph: Graph, sizes: KnownSizes, region: Region) -> int:
    """How many Transposes fewer there are when the region is permuted."""
    entering = undone(graph, sizes, region)
    gone = [v for v in entering if v not in graph.output_set and _only_within(graph, region, v)]
    return len(region.exits) + len(gone) - len(region.outputs) - (len(region.inputs) - len(entering))


def undone(graph: Graph, sizes: KnownSizes, region: Region) -> list[Value]:
    """What enters the region from Transposes that its permutation undoes."""
    back = inverse(region.perm)
    return [value for value in region.inputs if transpose_perm(sizes, graph.producer(value)) == back]


def _only_within(graph: Graph, region: Region, value: Value) -> bool:
    return all(reader.name in region.nodes for reader in graph.readers.get(value, ()))


def permute(graph: Graph, sizes: KnownSizes, region: Region) -> Graph:
    """The graph with the region in the other order."""
    editor, back = Editor(graph), inverse(region.perm)
    entering = {value: _entering(graph, sizes, editor, region, value) for value in region.inputs}
    leaving = {
        value: _transpose(graph, editor, f"{value.node}/transposed_back", value, back, permuted_of=region.perm)
        for value in region.outputs
    }
    for name, data in region.nodes.items():
        node = graph[name]
        inputs = {at: entering.get(node.inputs[at], node.inputs[at]) for at in data}
        others = node.with_inputs(*(v if at in inputs else leaving.get(v, v) for at, v in enumerate(node.inputs)))
        editor.update(rewritten(graph, editor, others, region.perm, inputs))
    for name in region.exits:
        editor.redirect(graph[name].value(), graph[name].inputs[0])
    for reader in {r.name: r for value in leaving for r in graph.readers.get(value, ())}.values():
        if reader.name not in region.nodes and reader.name not in region.exits:
            editor.update(reader.with_inputs(*(leaving.get(value, value) for value in reader.inputs)))
    edited = editor.finish()
    exits = {graph[name].value(): graph[name].inputs[0] for name in region.exits}
    outputs = tuple(exits.get(value, leaving.get(value, value)) for value in graph.outputs)
    return edited if outputs == edited.outputs else replace(edited, outputs=outputs)


def _entering(graph: Graph, sizes: KnownSizes, editor: Editor, region: Region, value: Value) -> Value:
    node = graph.producer(value)
    if transpose_perm(sizes, node) == inverse(region.perm) and not node.controls:
        return node.inputs[0]
    return _transpose(graph, editor, f"{value.node}/transposed", value, region.perm)


def _transpose(
    graph: Graph, editor: Editor, name: str, value: Value, perm: Perm, *, permuted_of: Perm | None = None
) -> Value:
    made = graph.type_of(value)
    axes = editor.constant(f"{name}/perm", np.array(perm, np.int32))
    source = made if permuted_of is None else permuted(made, permuted_of)
    attrs = {"T": made.dtype, "Tperm": DType.INT32}
    return editor.add("Transpose", name, (value, axes), [permuted(source, perm)], attrs).value()
