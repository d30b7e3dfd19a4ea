"""A graph whose weights come from outside: an argument in the place of each constant, in every function on the way, and
loops written such that TensorFlow can differentiate them.

TensorFlow's gradient of a While counts iterations by the loop's first variable, starts lists by its second, and needs
what is trained to be a variable of the loop (tensorflow/python/ops/while_v2.py). Passes drop the first two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from tfopt.ir.bodies import BRANCHES, WHILES, bodies, first_argument, map_bodies
from tfopt.ir.graph import AttrScalar, AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import constant_node, topological
from tfopt.ir.types import SCALAR, DType, Tensor, TensorType
from tfopt.passes.loops.variables import placeholder

#: What the counter and the limit of a loop are called.
_COUNTER, _LIMIT = "tfopt_iteration", "tfopt_iterations"
_COUNT: Final = TensorType(DType.INT32, SCALAR)
_OPENED: Final = WHILES | BRANCHES


def opened(graph: Graph, weights: Mapping[str, Tensor]) -> Graph:
    """The graph with a Placeholder of the given name, which is none of its inputs, wherever it or a function in it has
    a Const with that payload."""
    opener = _Opener({id(tensor): (name, tensor) for name, tensor in weights.items()})
    return opener.opened(graph, opener.needed(graph), is_function=False)


class _Opener:
    def __init__(self, wanted: Mapping[int, tuple[str, Tensor]]) -> None:
        self._wanted = wanted
        self._needed: dict[Graph, tuple[int, ...]] = {}
        self._done: dict[tuple[Graph, tuple[int, ...], bool], Graph] = {}

    def needed(self, graph: Graph) -> tuple[int, ...]:
        """The payloads that the graph and the functions in it hold, by id."""
        if graph not in self._needed:
            self._needed[graph] = tuple(dict.fromkeys(self._held(graph)))
        return self._needed[graph]

    def _held(self, graph: Graph) -> Iterator[int]:
        for node in graph.nodes:
            if node.op == "Const" and id(node.tensor) in self._wanted:
                yield id(node.tensor)
            elif node.op in _OPENED:
                yield from self._of_caller(node)

    def _of_caller(self, node: Node) -> tuple[int, ...]:
        return tuple(dict.fromkeys(held for _, body in bodies(node) for held in self.needed(body)))

    def opened(self, graph: Graph, held: tuple[int, ...], *, is_function: bool = True, hands_on: bool = False) -> Graph:
        """With an argument for each payload, behind the others; the body of a loop `hands_on` what it gets."""
        key = graph, held, hands_on
        if key not in self._done:
            self._done[key] = self._opened(graph, held, is_function, hands_on)
        return self._done[key]

    def _opened(self, graph: Graph, held: tuple[int, ...], is_function: bool, hands_on: bool) -> Graph:
        names = {one: self._wanted[one][0] for one in held}
        arguments = [placeholder(name, self._wanted[one][1].type) for one, name in names.items()]
        moved = {
            node.value(): Value(names[id(node.tensor)])
            for node in graph.by_op.get("Const", ())
            if id(node.tensor) in names
        }
        gone = {value.node for value in moved}
        moved |= _counted_outputs(graph)
        nodes = [
            made
            for node in graph.nodes
            if node.name not in gone
            for made in self._node(_without_controls(_moved(node, moved), gone), names)
        ]
        outputs = tuple(moved.get(value, value) for value in graph.outputs)
        return replace(
            graph,
            nodes=topological([*arguments, *nodes]),
            inputs=(*graph.inputs, *names.values()) if is_function else graph.inputs,
            outputs=(*outputs, *map(Value, names.values())) if hands_on else outputs,
            grids={},
        )

    def _node(self, node: Node, names: Mapping[int, str]) -> Iterator[Node]:
        if node.op not in _OPENED:
            yield node
            return
        held = self._of_caller(node)
        is_loop = node.op in WHILES

        def function(label: str, body: Graph) -> Graph:
            made = self.opened(body, held, hands_on=is_loop and label == "body")
            return _counting(made, label) if is_loop else made

        types = [self._wanted[one][1].type for one in held]
        wider = _with_arguments(map_bodies(node, function), [Value(names[one]) for one in held], types)
        if is_loop:
            yield from _counted(wider)
        else:
            yield wider


def _with_arguments(node: Node, values: list[Value], types: list[TensorType]) -> Node:
    """A caller that hands these over too, behind its other arguments. What TensorFlow noted about it for itself is out
    of date then."""
    attrs = {key: value for key, value in node.attrs.items() if not key.startswith("_")}
    added: dict[str, tuple[AttrScalar, ...]] = {"T" if node.op in WHILES else "Tin": tuple(one.dtype for one in types)}
    if node.op in WHILES and attrs.get("output_shapes"):
        added["output_shapes"] = tuple(one.shape for one in types)
    changed: dict[str, AttrValue] = {key: (*_tuple(attrs[key]), *more) for key, more in added.items()}
    outputs = (*node.outputs, *types) if node.op in WHILES else node.outputs
    return replace(node, inputs=(*node.inputs, *values), attrs={**attrs, **changed}, outputs=outputs)


def _counted(loop: Node) -> Iterator[Node]:
    """The loop with its counter and its limit before all other variables; -1 is no limit."""
    starts = [
        constant_node(f"{loop.name}/{name}", Tensor(np.array(number, np.int32)))
        for name, number in ((_COUNTER, 0), (_LIMIT, -1))
    ]
    attrs: dict[str, AttrValue] = {**loop.attrs, "T": (DType.INT32, DType.INT32, *_tuple(loop.attrs["T"]))}
    if attrs.get("output_shapes"):
        attrs["output_shapes"] = (SCALAR, SCALAR, *_tuple(attrs["output_shapes"]))
    first = first_argument(loop)
    assert first == 0
    inputs = (*(node.value() for node in starts), *loop.inputs)
    yield from starts
    yield replace(loop, inputs=inputs, attrs=attrs, outputs=(_COUNT, _COUNT, *loop.outputs))


def _counting(function: Graph, label: str) -> Graph:
    arguments = [placeholder(_COUNTER, _COUNT), placeholder(_LIMIT, _COUNT)]
    inputs = (_COUNTER, _LIMIT, *function.inputs)
    if label != "body":
        return replace(function, nodes=(*arguments, *function.nodes), inputs=inputs)
    one = constant_node(f"{_COUNTER}/one", Tensor(np.array(1, np.int32)))
    after = Node(f"{_COUNTER}/next", "AddV2", (Value(_COUNTER), one.value()), {"T": DType.INT32}, (_COUNT,))
    outputs = (after.value(), Value(_LIMIT), *function.outputs)
    return replace(function, nodes=(*arguments, one, after, *function.nodes), inputs=inputs, outputs=outputs)


def _counted_outputs(graph: Graph) -> dict[Value, Value]:
    """Where the outputs of loops are once the counter and the limit stand before them."""
    loops = (node for op in WHILES for node in graph.by_op.get(op, ()))
    return {node.value(port): node.value(port + 2) for node in loops for port in range(len(node.outputs))}


def _moved(node: Node, moved: Mapping[Value, Value]) -> Node:
    inputs = tuple(moved.get(value, value) for value in node.inputs)
    return node if inputs == node.inputs else replace(node, inputs=inputs)


def _without_controls(node: Node, gone: Collection[str]) -> Node:
    kept = tuple(name for name in node.controls if name not in gone)
    return node if kept == node.controls else replace(node, controls=kept)


def _tuple(value: AttrValue) -> tuple[AttrScalar, ...]:
    assert isinstance(value, tuple)
    return value
