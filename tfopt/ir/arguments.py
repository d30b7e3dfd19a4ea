"""What ops hand to the functions they call, and which of it they can do without.

A value that a loop hands on unchanged, or that a branch is given, may as well stand in the function itself when it is
a constant. The argument goes then, and with it an output of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias, TypeVar

from tfopt.ir.bodies import BRANCHES, WHILES, first_argument, map_bodies
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


#: Attributes with an entry for each argument, one after the other; a loop has each of them in full.
_LISTS = {
    **dict.fromkeys(WHILES, ("T", "output_shapes")),
    **dict.fromkeys(BRANCHES, ("Tin",)),
    "BatchFunction": ("Tin", "Tcaptured"),
}
#: Functions with constants in the place of arguments: made once for equal constants, so that a shared one stays shared.
Bound: TypeAlias = "dict[tuple[Graph, bool, frozenset[tuple[int, Tensor]]], Graph]"


def bind(
    node: Node, known: Mapping[int, Tensor], finish: Callable[[Graph, Mapping[str, Tensor]], Graph], done: Bound
) -> Node:
    """The node, one of CALLERS, without the arguments whose values are `known`, by place; a loop must hand them on.

    In each function a Const stands for them, under the argument's name; `finish` is given it with these names.
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
    """The node, one of CALLERS, without these arguments, and a loop without these outputs. Its functions stay."""
    first = first_argument(node)
    inputs = (*node.inputs[:first], *without(node.inputs[first:], dropped))
    shorter: dict[str, AttrValue] = {}
    start = 0
    for key in _LISTS[node.op]:
        if isinstance(held := node.attrs.get(key), tuple):
            shorter[key] = without(held, {place - start for place in dropped})
            start += 0 if node.op in WHILES else len(held)
    outputs = without(node.outputs, dropped) if node.op in WHILES else node.outputs
    return replace(node, inputs=inputs, attrs={**node.attrs, **shorter}, outputs=outputs)


def without(items: Iterable[_Item], dropped: Collection[int]) -> tuple[_Item, ...]:
    return tuple(item for place, item in enumerate(items) if place not in dropped)


def moved_outputs(node: Node, dropped: Collection[int]) -> dict[Value, Value]:
    """What the other outputs of a loop are called when the outputs at these places are gone."""
    if node.op not in WHILES:
        return {}
    places = without(range(len(node.inputs)), dropped)
    return {node.value(old): node.value(new) for new, old in enumerate(places) if old != new}
