"""What control-flow ops hand to their functions, and which of it they can do without.

A value that a loop hands on unchanged, or that a branch is given, may as well stand in the function itself when it is
a constant. The argument goes then, and with it an output of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from tfopt.ir.bodies import WHILES, first_argument, map_bodies
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import Tensor

_Item = TypeVar("_Item")


def is_handed_on(node: Node, place: int) -> bool:
    """Is the argument the same in every iteration? Always so for a branch, which runs once."""
    body = node.attrs.get("body")
    if node.op not in WHILES or not isinstance(body, Graph):
        return True
    return body.outputs[place] == Value(body.inputs[place])


#: Functions with constants in the place of arguments: made once for equal constants, so that a shared one stays shared.
Bound: TypeAlias = "dict[tuple[Graph, bool, frozenset[tuple[int, Tensor]]], Graph]"


def bind(
    node: Node, known: Mapping[int, Tensor], finish: Callable[[Graph, Mapping[str, Tensor]], Graph], done: Bound
) -> Node:
    """The control-flow node without the arguments whose values are `known`, by place; those of a loop must be handed
    on. In each function a Const stands for them, under the argument's name; `finish` is given it with these names.
    """

    def bound(label: str, body: Graph) -> Graph:
        hands_on = label == "body" and node.op in WHILES
        key = (body, hands_on, frozenset(known.items()))
        if key not in done:
            constants = {body.inputs[place]: tensor for place, tensor in known.items()}
            nodes = tuple(constant_node(n.name, constants[n.name]) if n.name in constants else n for n in body.nodes)
            returned = without(body.outputs, known) if hands_on else body.outputs
            bare = replace(body, nodes=nodes, inputs=without(body.inputs, known), outputs=returned)
            done[key] = finish(bare, constants)
        return done[key]

    return map_bodies(without_arguments(node, known), bound)


def without_arguments(node: Node, dropped: Collection[int]) -> Node:
    """The control-flow node without these arguments, and a loop without these outputs. Its functions stay."""
    first = first_argument(node)
    inputs = (*node.inputs[:first], *without(node.inputs[first:], dropped))
    lists = ("T", "output_shapes") if node.op in WHILES else ("Tin",)
    shorter = {key: _shorter(node.attrs.get(key), dropped) for key in lists if key in node.attrs}
    outputs = without(node.outputs, dropped) if node.op in WHILES else node.outputs
    return replace(node, inputs=inputs, attrs={**node.attrs, **shorter}, outputs=outputs)


def _shorter(value: Any, dropped: Collection[int]) -> AttrValue:
    kept: AttrValue = without(value, dropped)
    return kept


def without(items: Iterable[_Item], dropped: Collection[int]) -> tuple[_Item, ...]:
    return tuple(item for place, item in enumerate(items) if place not in dropped)


def moved_outputs(node: Node, dropped: Collection[int]) -> dict[Value, Value]:
    """What the other outputs of a loop are called when the outputs at these places are gone."""
    if node.op not in WHILES:
        return {}
    places = without(range(len(node.inputs)), dropped)
    return {node.value(old): node.value(new) for new, old in enumerate(places) if old != new}
