"""Compute once, now, what depends on nothing that a caller feeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TypeAlias

import numpy as np

from tfopt.errors import ExecutionError
from tfopt.ir.evaluate import EVALUABLE, evaluate
from tfopt.ir.facts import PURE, SHAPE_READERS, idle_nodes
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor, constant_node
from tfopt.ir.sizes import holds_sizes
from tfopt.ir.types import Shape, Tensor, TensorType, numpy_dtype
from tfopt.passes.base import Finding, Outcome, graph_pass

_Known: TypeAlias = "dict[Value, Tensor]"

#: Ops whose result may be any number of times their inputs.
_GROWING = frozenset({"BroadcastTo", "Fill", "LinSpace", "OneHot", "Pad", "PadV2", "Range", "Tile"})


@graph_pass
def fold_constants(graph: Graph, *, max_bytes: int = 1_000_000) -> Graph | Outcome:
    """Compute what depends on constants only.

        %v = Const() {0.25}                   %s = Const() {2.0}
        %s = Rsqrt(%v)                  ->    %y = Mul(%x, %s)
        %y = Mul(%x, %s)

    The shape, rank and size of a value count as constants where its type says them, and so does what is computed
    from the known dims of a partial shape. A node stays when the model
    would grow by more than `max_bytes` through it, when its op is not among those that `ir.evaluate` knows, or
    when it waits for a node with an effect.
    """
    known: _Known = {}
    folded: dict[str, tuple[Tensor, ...]] = {}
    findings = []
    waiting = _Waiting(graph)
    sizes = KnownSizes(graph)
    for node in graph.nodes:
        if node.op == "Const" and node.name not in graph.targets:
            known[node.value()] = node.tensor
            continue
        if not _is_foldable(graph, node):
            continue
        inputs = _known_inputs(graph, node, known)
        from_dims = _from_dims(sizes, node) if inputs is None else None
        if inputs is None and from_dims is None:
            continue
        made = waiting.reason(node) or from_dims or _computed(graph, node, inputs or (), max_bytes)
        if isinstance(made, str):
            findings.append(Finding(node.name, False, made))
            continue
        folded[node.name] = made
        known.update((node.value(port), tensor) for port, tensor in enumerate(made))
    editor = Editor(graph)
    findings += _write(graph, editor, folded)
    return Outcome(editor.finish(), tuple(findings))


def _is_foldable(graph: Graph, node: Node) -> bool:
    # A default that no caller can feed over is what the node makes.
    return node.op in PURE or (node.op == "PlaceholderWithDefault" and node.name not in graph.inputs)


class _Waiting:
    """Looks for control edges that mean something, and only once one is seen."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._idle: frozenset[str] | None = None

    def reason(self, node: Node) -> str | None:
        if not node.controls:
            return None
        if self._idle is None:
            self._idle = idle_nodes(self._graph)
        waits = [name for name in node.controls if name not in self._idle]
        return f"waits for {', '.join(waits)}, which may have an effect" if waits else None


def _known_inputs(graph: Graph, node: Node, known: Mapping[Value, Tensor]) -> Sequence[Tensor] | None:
    if node.op in SHAPE_READERS:
        return _stand_ins(node.op, [graph.type_of(value) for value in node.inputs])
    for value in node.inputs:
        if value not in known:
            return None
    return [known[value] for value in node.inputs] if node.inputs else None


def _from_dims(sizes: KnownSizes, node: Node) -> tuple[Tensor, ...] | None:
    """A small integer that depends on nothing but known dims, though other dims of the same values are not known."""
    if len(node.outputs) != 1 or not holds_sizes(node.outputs[0]) or node.outputs[0].shape.dims is None:
        return None
    items, dtype = sizes.constant(node.value()), numpy_dtype(node.outputs[0].dtype)
    if items is None or any(not np.iinfo(dtype).min <= item <= np.iinfo(dtype).max for item in items):
        return None
    return (Tensor(np.array(items, dtype).reshape(() if node.outputs[0].shape.rank == 0 else -1)),)


def _stand_ins(op: str, types: Sequence[TensorType]) -> Sequence[Tensor] | None:
    """Arrays of the right shape that take no memory, for ops that look at nothing else."""
    shapes = [_shape_for_rank(t.shape) if op == "Rank" else t.shape for t in types]
    if not all(shape.is_static for shape in shapes):
        return None
    return [Tensor(np.broadcast_to(np.zeros((), np.int8), [d or 0 for d in shape.dims or ()])) for shape in shapes]


def _shape_for_rank(shape: Shape) -> Shape:
    return Shape(None if shape.dims is None else (1,) * len(shape.dims))


def _computed(graph: Graph, node: Node, inputs: Sequence[Tensor], max_bytes: int) -> tuple[Tensor, ...] | str:
    """The outputs of the node, or why it stays."""
    if node.op not in EVALUABLE:
        return f"{node.op} is not among the ops that are computed here"
    if node.op in _GROWING and not all(out.shape.is_static for out in node.outputs):
        return f"{node.op} makes a result of unknown size"
    growth = _growth(graph, node, sum(map(_size, node.outputs)))
    if growth > max_bytes:
        return f"would grow the model by {growth:,} bytes, more than max_bytes={max_bytes:,}"
    try:
        return evaluate(node, inputs)
    except ExecutionError as error:
        return error.what


def _size(made: TensorType) -> int:
    """In bytes; what has no static size is no larger than what it is made of, see _GROWING."""
    if not made.shape.is_static:
        return 0
    return prod(d or 0 for d in made.shape.dims or ()) * made.dtype.itemsize


def _growth(graph: Graph, node: Node, made: int) -> int:
    """By how many bytes the constants grow: the result comes, inputs that only this node reads go."""
    return made - sum(_size(graph.type_of(value)) for value in node.inputs if made and graph.is_private(value))


def _write(graph: Graph, editor: Editor, folded: Mapping[str, tuple[Tensor, ...]]) -> list[Finding]:
    """Put constants where something that is not folded reads a folded value; the nodes between are left to die."""
    findings = []
    for value in _frontier(graph, folded):
        node, tensor = graph.producer(value), folded[value.node][value.port]
        if len(node.outputs) == 1:
            editor.update(constant_node(node.name, tensor))
        else:
            editor.redirect(value, editor.constant(f"{node.name}/{value.port}", tensor.array, tensor.dtype))
        findings.append(Finding(node.name, True, f"{node.op} computed: {tensor.type}"))
    return findings


def _frontier(graph: Graph, folded: Mapping[str, tuple[Tensor, ...]]) -> list[Value]:
    if not folded:
        return []
    read = [value for node in graph.nodes if node.name not in folded for value in node.inputs if value.node in folded]
    read += [value for value in graph.outputs if value.node in folded]
    return list(dict.fromkeys(read))
