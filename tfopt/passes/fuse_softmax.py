"""Leave to Softmax what it does anyway."""

from __future__ import annotations

from dataclasses import replace

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.passes.arithmetic.factors import SUMS, only_reader, plus
from tfopt.passes.arithmetic.rounding import LARGEST_SHIFT
from tfopt.passes.base import Finding, Outcome, graph_pass

_OPS = ("Softmax", "LogSoftmax")


@graph_pass
def fuse_softmax(graph: Graph) -> Graph | Outcome:
    """Write exp(x) / sum(exp(x)) as Softmax, and leave out what is added to each row before it.

        %z = Sub(%x, Max(%x))
        %e = Exp(%z)                            ->    %y = Softmax(%x)
        %y = RealDiv(%e, Sum(%e))

    Softmax does not change when a number is added to all of a row, and takes the largest away by itself. Libraries
    add tiny numbers (Hugging Face's TensorFlow models 1e-9) or take the largest away once more: a pass over all
    scores of attention each time. Exponentials without the largest taken away stay, since they overflow where Softmax
    does not. A row that holds NaN or plus infinity is not finite before and after; Softmax makes NaN of fewer of its
    elements on a CPU.
    """
    sizes, editor = KnownSizes(graph), Editor(graph)
    findings = []
    for op in _OPS:
        for node in graph.by_op.get(op, ()):
            if (inner := _shifted(graph, sizes, node.inputs[0])) is not None:
                editor.update(node.with_inputs(inner))
                findings.append(Finding(node.name, True, "what is added to all of a row left out"))
    for node in graph.nodes:
        if node.op in ("RealDiv", "Div") and graph.producer(node.inputs[0]).op == "Exp":
            found = _written_out(graph, sizes, node)
            if not isinstance(found, str):
                editor.update(replace(node, op="Softmax", inputs=(found,), attrs={"T": node.outputs[0].dtype}))
            message = found if isinstance(found, str) else "Softmax"
            findings.append(Finding(node.name, not isinstance(found, str), message))
    return Outcome(editor.finish(), tuple(findings))


def _shifted(graph: Graph, sizes: KnownSizes, value: Value) -> Value | None:
    """x, where the value is x plus the same for all of a row."""
    while (inner := _one_shift(graph, graph.producer(value))) is not None and sizes.same_dims(inner, value):
        value = inner
        if _one_shift(graph, graph.producer(value)) is None:
            return value
    return None


def _one_shift(graph: Graph, node: Node) -> Value | None:
    if node.controls:
        return None
    if (added := plus(graph, node)) is not None:
        return added[1] if abs(added[0]) <= LARGEST_SHIFT else None
    if node.op == "Sub" and (_is_largest(graph, node) or _takes_number(graph, node)):
        return node.inputs[0]
    return None


def _takes_number(graph: Graph, node: Node) -> bool:
    taken = plus(graph, replace(node, op=next(iter(SUMS)), inputs=node.inputs[::-1]))
    return taken is not None and taken[1] == node.inputs[0] and abs(taken[0]) <= LARGEST_SHIFT


def _is_largest(graph: Graph, node: Node) -> bool:
    """Does it take the largest of x from x?"""
    largest = graph.producer(node.inputs[1])
    return largest.op == "Max" and largest.inputs[0] == node.inputs[0] and _of_rows(graph, largest)


def _of_rows(graph: Graph, node: Node) -> bool:
    """Is the last axis reduced, and stays as a dimension of 1?"""
    axes, rank = graph.constant(node.inputs[1]), graph.type_of(node.inputs[0]).shape.rank
    if axes is None or rank is None or axes.array.size != 1 or node.controls or not node.attrs.get("keep_dims"):
        return False
    return int(axes.array.reshape(())) in (-1, rank - 1)


def _written_out(graph: Graph, sizes: KnownSizes, node: Node) -> Value | str:
    """What a quotient is the softmax of, or why it is none."""
    exponential, total = (graph.producer(value) for value in node.inputs)
    if total.op != "Sum" or total.inputs[0] != node.inputs[0] or not _of_rows(graph, total):
        return "is not divided by the sum of its rows"
    if len(graph.readers[node.inputs[0]]) != 2 or only_reader(graph, node.inputs[1]) is None:
        return "the exponentials or their sum are read by others too"
    shift = graph.producer(exponential.inputs[0])
    if node.controls or exponential.controls or shift.op != "Sub" or not _is_largest(graph, shift):
        return "may overflow: the largest of each row is not taken away"
    if (graph.type_of(shift.inputs[0]).shape.rank or 0) < 1 or not sizes.same_dims(shift.inputs[0], node.value()):
        return "the shape of its input is not known to be its own"
    return shift.inputs[0]
