"""Change a graph without mutating it: collect edits, then build the new graph once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.types import DType, Tensor, TensorType


class Editor:
    """Edits against one graph. `finish` returns that very graph when nothing was edited.

    Added nodes may read any value, and read just that value: redirects concern the nodes that were there, so that
    a node can be put behind a value it reads. `finish` puts everything in topological order, keeping the old
    order where it can. Nodes that lose their last reader through the edits go with them; what nobody read before is
    left for `remove_dead`.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._replaced: dict[str, Node] = {}
        self._added: dict[str, Node] = {}
        self._removed: set[str] = set()
        self._redirects: dict[Value, Value] = {}
        self._shared: dict[tuple[DType, bytes], Value] = {}

    def add(
        self,
        op: str,
        name: str,
        inputs: Iterable[Value],
        outputs: Iterable[TensorType],
        attrs: Mapping[str, AttrValue] | None = None,
        controls: Iterable[str] = (),
    ) -> Node:
        """Add a node; a taken name gets a numeric suffix."""
        node = Node(self._fresh(name), op, tuple(inputs), attrs or {}, tuple(outputs), tuple(controls))
        self._added[node.name] = node
        return node

    def constant(self, name: str, array: NDArray[Any], dtype: DType | None = None) -> Value:
        """Add a Const that holds `array`, without copying it."""
        node = constant_node(self._fresh(name), Tensor(np.asarray(array), dtype))
        self._added[node.name] = node
        return node.value()

    def shared_scalar(self, name: str, number: np.generic) -> Value:
        """The Const that holds `number`, which is added when it is asked for first. A runtime visits each Const in each
        call, which thousands of small ones make felt."""
        array = np.asarray(number)
        key = Tensor(array).dtype, array.tobytes()
        if key not in self._shared:
            self._shared[key] = self.constant(name, array)
        return self._shared[key]

    def update(self, node: Node) -> None:
        """Put `node` in the place of the node that has its name."""
        if node.name in self._added:
            self._added[node.name] = node
        elif node is not self.graph.by_name[node.name]:
            self._replaced[node.name] = node

    def redirect(self, old: Value, new: Value) -> None:
        """Let every reader of `old`, and the graph's outputs, read `new` instead."""
        if old != new:
            self._redirects[old] = new

    def remove(self, name: str) -> None:
        """Drop a node; whoever still needs it makes the result fail verification."""
        self._removed.add(name)

    @property
    def changed(self) -> bool:
        return bool(self._replaced or self._added or self._removed or self._redirects)

    def finish(self) -> Graph:
        if not self.changed:
            return self.graph
        nodes = [self._rewired(self._replaced.get(n.name, n)) for n in self.graph.nodes if n.name not in self._removed]
        nodes += [node for name, node in self._added.items() if name not in self._removed]
        outputs = tuple(self._resolve(value) for value in self.graph.outputs)
        edited = replace(self.graph, nodes=topological(nodes), outputs=outputs)
        return _with_standing_grids(_without_unread(edited, self._possibly_unread()))

    def _possibly_unread(self) -> set[str]:
        """Nodes that had a reader before the edits and may have none now."""
        names = {value.node for value in self._redirects if self.graph.is_read(value)}
        for name in (*self._replaced, *self._removed):
            if name in self.graph:
                names.update(dependencies(self.graph[name]))
        return names

    def _rewired(self, node: Node) -> Node:
        inputs = tuple(self._resolve(value) for value in node.inputs)
        return node if inputs == node.inputs else replace(node, inputs=inputs)

    def _resolve(self, value: Value) -> Value:
        seen = {value}
        while value in self._redirects:
            value = self._redirects[value]
            if value in seen:
                raise ValueError(f"redirects of {value} form a circle")
            seen.add(value)
        return value

    def _fresh(self, name: str) -> str:
        candidate, number = name, 0
        while candidate in self.graph or candidate in self._added:
            number += 1
            candidate = f"{name}_{number}"
        return candidate


def _without_unread(graph: Graph, suspects: Iterable[str]) -> Graph:
    """Drop those of `suspects` that nobody needs, and then what only they needed."""
    uses = Counter(name for node in graph.nodes for name in dependencies(node))
    uses.update((*(value.node for value in graph.outputs), *graph.inputs, *graph.targets))
    unread: set[str] = set()
    stack = [name for name in suspects if name in graph]
    while stack:
        name = stack.pop()
        if uses[name] == 0 and name not in unread:
            unread.add(name)
            needed = list(dependencies(graph[name]))
            uses.subtract(needed)
            stack.extend(needed)
    return replace(graph, nodes=tuple(n for n in graph.nodes if n.name not in unread)) if unread else graph


def _with_standing_grids(graph: Graph) -> Graph:
    standing = {value: grid for value, grid in graph.grids.items() if value.node in graph}
    return graph if len(standing) == len(graph.grids) else replace(graph, grids=standing)


def constant_node(name: str, tensor: Tensor) -> Node:
    return Node(name, "Const", (), {"value": tensor, "dtype": tensor.dtype}, (tensor.type,))


def topological(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes in an order in which each stands behind all it needs; stable. Raises ValueError on a cycle.

    Edges to nodes outside of `nodes` are left for the verifier to report. The edge with which TensorFlow 1 closes a
    loop (`is_back_edge`) is none that a node stands behind.
    """
    by_name = {node.name: node for node in nodes}
    ordered: list[Node] = []
    state: dict[str, bool] = {}  # absent: not seen, False: on the stack, True: placed
    for root in by_name:
        stack = [root]
        while stack:
            name = stack[-1]
            if state.get(name) is None:
                state[name] = False
                for needed in reversed(tuple(dependencies(by_name[name]))):
                    if needed not in by_name or is_back_edge(by_name[needed], by_name[name]):
                        continue
                    if state.get(needed) is False:
                        raise ValueError(f"the graph has a cycle through {needed}")
                    if needed not in state:
                        stack.append(needed)
            else:
                stack.pop()
                if not state[name]:
                    state[name] = True
                    ordered.append(by_name[name])
    return tuple(ordered)


def is_back_edge(producer: Node, reader: Node) -> bool:
    """Is this how a TensorFlow 1 loop hands its values to the next iteration? The only edge that points backwards."""
    return producer.op in ("NextIteration", "RefNextIteration") and reader.op in ("Merge", "RefMerge")


def dependencies(node: Node) -> Iterable[str]:
    """Names of all nodes that must run before this one."""
    for value in node.inputs:
        yield value.node
    yield from node.controls


def reachable(graph: Graph, roots: Iterable[str]) -> set[str]:
    """Names of all nodes that the roots need, the roots included."""
    stack, seen = list(roots), set()
    by_name = graph.by_name
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack.extend(dependencies(by_name[name]))
    return seen
