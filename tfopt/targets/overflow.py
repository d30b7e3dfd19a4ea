"""More constants than a SavedModel's file may hold: the largest of them become variables, too, whatever reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tfopt.formats.message_size import constant_bytes
from tfopt.ir import Graph, Node

#: Bytes from which a constant may move: shapes, axes and sizes, which TensorFlow looks into, are smaller.
_SMALLEST = 1 << 16


def overflowing(graph: Graph, keep: Iterable[str], largest: int) -> tuple[Node, ...]:
    """The constants that have to leave the graph for it to hold at most `largest` bytes of them, largest first.

    Those in `keep`, in functions and within a loop or branch of TensorFlow 1 stay where they are.
    """
    too_many = constant_bytes(graph) - largest
    chosen = []
    for node in sorted(_movable(graph, keep), key=lambda node: (-node.tensor.nbytes, node.name)):
        if too_many <= 0:
            break
        chosen.append(node)
        too_many -= node.tensor.nbytes
    return tuple(chosen)


def _movable(graph: Graph, keep: Iterable[str]) -> Iterator[Node]:
    kept = {*keep, *graph.targets}
    for node in graph.by_op.get("Const", ()):
        if node.tensor.nbytes >= _SMALLEST and not node.controls and node.name not in kept:
            yield node
