"""Write layer norm with as few passes over its input as plain ops can."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.arithmetic.factors import SUMS, only_reader, plus
from tfopt.passes.base import Finding, Outcome, graph_pass

_KERNEL_EPSILON = np.float32(0.001)


@dataclass(frozen=True, slots=True)
class _Statistics:
    """`rsqrt` = 1 / sqrt(`variance` + epsilon), `variance` the mean of `squares`, those of x - mean; the last axis is
    reduced."""

    x: Value
    mean: Value
    squares: Node
    variance: Node
    rsqrt: Value
    epsilon: float


@dataclass(frozen=True, slots=True)
class _LayerNorm:
    """`root` = x inverse + beta - mean inverse, where `inverse` is rsqrt, or rsqrt gamma, and `scaled` x inverse.

    `is_plain`: mean inverse is taken from beta, not added with its sign turned.
    """

    inverse: Value
    gamma: Value | None
    beta: Value | None
    scaled: Node
    root: Node
    is_plain: bool


@graph_pass
def fuse_layer_norm(graph: Graph) -> Graph | Outcome:
    """Write layer norm as (x - mean) rsqrt(variance + epsilon) gamma + beta.

        %v = Mean(SquaredDifference(%x, %mean))       %d = Sub(%x, %mean)
        %r = Rsqrt(AddV2(%v, 1e-6))                   %v = Mean(Square(%d))
        %s = Mul(%r, %gamma)                    ->    %r = Rsqrt(AddV2(%v, 1e-6))
        %b = Sub(%beta, Mul(%mean, %s))               %n = Mul(Mul(%d, %r), %gamma)
        %y = AddV2(Mul(%x, %s), %b)                   %y = AddV2(%n, %beta)

    Ba, Kiros & Hinton, "Layer Normalization" (2016), https://arxiv.org/abs/1607.06450. Keras and
    tf.nn.batch_normalization write the form on the left. It stretches more vectors to the size of x, and takes longer
    (benchmarks/spellings.py). TensorFlow with oneDNN has a kernel for the form on the left, where the axis is counted
    from the front and x is of rank 2 or 3, but computes with an epsilon of 0.001 there whatever the model says (seen in
    2.21). Where the model says the same, as Keras does, it is written for the kernel, else as on the right, which no
    runtime takes for something else.
    """
    editor = Editor(graph)
    findings = []
    for node in graph.by_op.get("Rsqrt", ()):
        statistics = _statistics(graph, node)
        if statistics is None:
            continue
        found = _layer_norm(graph, statistics)
        if not isinstance(found, str) and _suits_kernel(graph, statistics, found):
            if _is_kernels(graph, statistics, found):
                findings.append(Finding(found.root.name, False, "TensorFlow with oneDNN has a kernel for it as it is"))
            else:
                _write_for_kernel(graph, editor, statistics, found)
                findings.append(Finding(found.root.name, True, "written as TensorFlow with oneDNN has a kernel for it"))
        elif not isinstance(found, str):
            _write(graph, editor, statistics, found)
            findings.append(Finding(found.root.name, True, "layer norm written around x - mean"))
        elif (centred := _centred(graph, statistics)) is not None:
            attrs = {"T": centred.outputs[0].dtype}
            editor.update(replace(statistics.squares, op="Square", inputs=(centred.value(),), attrs=attrs))
            findings.append(Finding(statistics.squares.name, True, f"the square of {centred.name}"))
        else:
            findings.append(Finding(node.name, False, found))
    return Outcome(editor.finish(), tuple(findings))


def _statistics(graph: Graph, rsqrt: Node) -> _Statistics | None:
    """Those of a layer norm whose variance is the mean of SquaredDifference."""
    added = plus(graph, graph.producer(rsqrt.inputs[0]))
    if added is None or rsqrt.controls:
        return None
    variance = graph.producer(added[1])
    squares = graph.producer(variance.inputs[0]) if _is_mean(graph, variance) else variance
    if squares.op != "SquaredDifference" or squares.controls:
        return None
    for x, value in (squares.inputs, squares.inputs[::-1]):
        mean = graph.producer(value)
        if _is_mean(graph, mean) and mean.inputs[0] == x:
            return _Statistics(x, value, squares, variance, rsqrt.value(), added[0])
    return None


def _is_mean(graph: Graph, node: Node) -> bool:
    """Of the last axis, which stays as a dimension of 1."""
    if node.op != "Mean" or node.controls or not node.attrs.get("keep_dims"):
        return False
    axes, rank = graph.constant(node.inputs[1]), graph.type_of(node.inputs[0]).shape.rank
    if axes is None or rank is None or axes.array.size != 1 or node.inputs[1].node in graph.targets:
        return False
    return int(axes.array.reshape(())) in (-1, rank - 1)


def _suits_kernel(graph: Graph, statistics: _Statistics, found: _LayerNorm) -> bool:
    """Does oneDNN's kernel compute this one? It takes vectors that are constants."""
    made = graph.type_of(statistics.x)
    if np.float32(statistics.epsilon) != _KERNEL_EPSILON or made.dtype is not DType.FLOAT32:
        return False
    vectors = [value and graph.constant(value) for value in (found.gamma, found.beta)]
    width = (made.shape.dims or (None,))[-1]
    return made.shape.rank in (2, 3) and all(
        vector and vector.array.size == width and vector.array.shape[-1] == width for vector in vectors
    )


def _is_kernels(graph: Graph, statistics: _Statistics, found: _LayerNorm) -> bool:
    """Is it written as the kernel's already?"""
    means = graph.producer(statistics.mean), statistics.variance
    axes = [graph.constant(mean.inputs[1]) for mean in means]
    vectors = [value and graph.constant(value) for value in (found.gamma, found.beta)]
    return (
        found.is_plain
        and all(axis is not None and bool((axis.array >= 0).all()) for axis in axes)
        and all(vector and vector.array.ndim == 1 for vector in vectors)
    )


def _layer_norm(graph: Graph, statistics: _Statistics) -> _LayerNorm | str:
    """What is made of the statistics, or what stands in the place of a layer norm."""
    gamma, inverse = None, statistics.rsqrt
    scale = only_reader(graph, inverse)
    if scale is not None and scale.op == "Mul" and not scale.controls:
        gamma, inverse = scale.inputs[1 - scale.inputs.index(inverse)], scale.value()
    if inverse in graph.output_set:
        return "its factor is an output"
    products = {}
    for reader in graph.readers.get(inverse, ()):
        if reader.op != "Mul" or reader.controls:
            return f"its factor is read by {reader.name}, a {reader.op}"
        products[reader.inputs[1 - reader.inputs.index(inverse)]] = reader
    scaled = products.pop(statistics.x, None)
    if scaled is None or len(products) != 1:
        return "its factor does not multiply x and the mean alone"
    return _ended(graph, statistics, inverse, gamma, scaled, *products.popitem())


def _ended(
    graph: Graph,
    statistics: _Statistics,
    inverse: Value,
    gamma: Value | None,
    scaled: Node,
    shift: Value,
    shifted: Node,
) -> _LayerNorm | str:
    """The sum of x inverse and of what is left of the mean inverse."""
    negative = graph.producer(shift)
    is_negative = negative.op == "Neg" and negative.inputs[0] == statistics.mean
    root = only_reader(graph, scaled.value())
    if root is None or root.controls or not (is_negative or shift == statistics.mean):
        return "its factor does not multiply x and the mean alone"
    if root.op == "Sub" and root.inputs == (scaled.value(), shifted.value()) and not is_negative:
        return _LayerNorm(inverse, gamma, None, scaled, root, is_plain=False)
    if root.op not in SUMS:
        return f"the scaled x goes into {root.name}, a {root.op}"
    rest = root.inputs[1 - root.inputs.index(scaled.value())]
    if rest == shifted.value() and is_negative:
        return _LayerNorm(inverse, gamma, None, scaled, root, is_plain=False)
    beta = _beta(graph, rest, shifted.value(), is_negative)
    if beta is None:
        return "the mean is not taken away again"
    return _LayerNorm(inverse, gamma, beta, scaled, root, is_plain=not is_negative)


def _beta(graph: Graph, rest: Value, shifted: Value, is_negative: bool) -> Value | None:
    """What is added to -mean inverse, or what mean inverse is taken from, to make `rest`."""
    node = graph.producer(rest)
    if node.controls or shifted not in node.inputs:
        return None
    if is_negative and node.op in SUMS:
        return node.inputs[1 - node.inputs.index(shifted)]
    return node.inputs[0] if not is_negative and node.op == "Sub" and node.inputs[1] == shifted else None


def _centred(graph: Graph, statistics: _Statistics) -> Node | None:
    """x - mean, where somebody computes it."""
    inputs = (statistics.x, statistics.mean)
    readers = graph.readers.get(statistics.mean, ())
    return next((node for node in readers if node.op == "Sub" and node.inputs == inputs and not node.controls), None)


def _write(graph: Graph, editor: Editor, statistics: _Statistics, found: _LayerNorm) -> None:
    made, attrs = graph.type_of(statistics.x), {"T": found.root.outputs[0].dtype}
    name = found.root.name
    centred = editor.add("Sub", f"{name}/centred", (statistics.x, statistics.mean), [made], attrs).value()
    editor.update(replace(statistics.squares, op="Square", inputs=(centred,), attrs=attrs))
    factors = [statistics.rsqrt] if found.gamma is None else [statistics.rsqrt, found.gamma]
    if found.beta is None:
        last = factors.pop()
    normed = centred
    for factor, out in zip(factors, (made, *found.scaled.outputs), strict=False):
        normed = editor.add("Mul", f"{name}/normed", (normed, factor), [out], attrs).value()
    op, operand = ("Mul", last) if found.beta is None else ("AddV2", found.beta)
    editor.update(replace(found.root, op=op, inputs=(normed, operand), attrs=attrs))


def _write_for_kernel(graph: Graph, editor: Editor, statistics: _Statistics, found: _LayerNorm) -> None:
    """x inverse + (beta - mean inverse), the axes counted from the front."""
    made, mean = graph.type_of(statistics.x), statistics.mean
    attrs, name = {"T": made.dtype}, found.root.name
    gamma, beta = (
        editor.constant(f"{name}/{what}", graph.producer(value).tensor.array.reshape(-1))
        for what, value in (("gamma", found.gamma), ("beta", found.beta))
        if value is not None
    )
    axis = editor.constant(f"{name}/axis", np.array([len(made.shape.dims or ()) - 1], np.int32))
    for node in (graph.producer(mean), statistics.variance):
        editor.update(node.with_inputs(node.inputs[0], axis).with_attrs(Tidx=DType.INT32))
    editor.update(statistics.squares.with_inputs(statistics.x, mean))
    editor.update(graph.producer(found.inverse).with_inputs(statistics.rsqrt, gamma))
    editor.update(found.scaled.with_inputs(statistics.x, found.inverse))
    shifted = editor.add("Mul", f"{name}/shifted", (mean, found.inverse), [made], attrs).value()
    rest = editor.add("Sub", f"{name}/shift", (beta, shifted), [made], attrs).value()
    editor.update(replace(found.root, op="AddV2", inputs=(found.scaled.value(), rest), attrs=attrs))
