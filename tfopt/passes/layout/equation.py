"""The equation of an Einsum, its ellipsis written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from tfopt.ir.graph import Graph, Node

#: Labels that no equation of TensorFlow uses, one for each axis of an ellipsis.
_ELLIPSIS = "0123456789"


@dataclass(frozen=True, slots=True)
class Equation:
    """One letter an axis: of each operand, and of the result."""

    operands: tuple[str, ...]
    result: str


def equation(graph: Graph, node: Node) -> Equation | str:
    """What an Einsum computes, or why that is not known."""
    left, arrow, result = cast(bytes, node.attrs["equation"]).decode().replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        return "its equation names no result"
    if sum("..." in term for term in terms) > 1:
        return "broadcasts an ellipsis"
    written, axes = [], 0
    for term, value in zip(terms, node.inputs, strict=True):
        rank = graph.type_of(value).shape.rank
        if rank is None:
            return "has an operand of unknown rank"
        if "..." in term:
            axes = rank - len(term) + len("...")
        written.append(_written_out(term, axes))
    if any(len(set(term)) != len(term) for term in written):
        return "takes a diagonal"
    return Equation(tuple(written), _written_out(result, axes))


def _written_out(term: str, axes: int) -> str:
    return term.replace("...", _ELLIPSIS[:axes])
