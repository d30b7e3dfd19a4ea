"""Random programs of TensorFlow ops: what a property test may throw at the exact passes.

A program is drawn op by op. Each op runs at once on numbers, so that the next one can be drawn to fit the shapes that
there are, and is put into a graph with unknown dims beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tfopt.formats.graph_def import from_graph_def
from tfopt.ir.graph import Graph, Model, Signature, SignatureInput, SignatureOutput, Value

Function = Callable[..., Any]


@dataclass
class Pair:
    """One tensor: its numbers, and the tensor of the graph."""

    now: tf.Tensor
    later: tf.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.now.shape)


@dataclass
class Program:
    """Grows by one op a call; `values` are the floating-point tensors that it has made."""

    draw: st.DrawFn
    graph: tf.Graph
    rng: np.random.Generator
    values: list[Pair] = field(default_factory=list)

    def add(self, function: Function, *inputs: Pair) -> None:
        """Run `function` on numbers and in the graph; kept when the result is one that rounding does not blow up."""
        now = function(*(pair.now for pair in inputs))
        with self.graph.as_default():
            later = function(*(pair.later for pair in inputs))
        for made, planned in zip(_listed(now), _listed(later), strict=True):
            small = made.dtype.is_floating and made.shape.rank <= 5 and int(np.prod(made.shape)) <= 4096
            if small and bool(tf.reduce_all(tf.math.is_finite(made))) and float(tf.reduce_max(tf.abs(made))) < 1e3:
                self.values.append(Pair(made, planned))

    def pick(self) -> Pair:
        """Mostly the newest, so that ops come in chains."""
        return self.values[-1] if self.draw(st.integers(0, 4)) else self.draw(st.sampled_from(self.values))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32) / np.float32(max(1, shape[0]) ** 0.5 if shape else 1)

    def like(self, pair: Pair, array: np.ndarray) -> tf.Tensor:
        return np.asarray(array, pair.now.dtype.as_numpy_dtype)


def _listed(made: Any) -> list[tf.Tensor]:
    return list(made) if isinstance(made, (list, tuple)) else [made]


def unary(p: Program) -> None:
    names = "relu relu6 tanh sigmoid abs neg square softplus identity stop_gradient"
    function = {
        "relu": tf.nn.relu, "relu6": tf.nn.relu6, "tanh": tf.tanh, "sigmoid": tf.sigmoid, "abs": tf.abs,
        "neg": tf.negative, "square": tf.square, "softplus": tf.nn.softplus, "identity": tf.identity,
        "stop_gradient": tf.stop_gradient,
    }[p.draw(st.sampled_from(names.split()))]  # fmt: skip
    p.add(function, p.pick())


def with_constant(p: Program) -> None:
    x = p.pick()
    numbers = p.draw(st.sampled_from([0.0, -0.0, 1.0, 0.5, -2.0]))
    shape = x.shape[p.number(0, len(x.shape)) :]
    shape = tuple(1 if p.number(0, 3) == 0 else dim for dim in shape)
    array = np.full(shape, numbers) if p.chance() else p.weights(*shape)
    constant = p.like(x, array)
    op = p.draw(st.sampled_from([tf.add, tf.multiply, tf.subtract, tf.maximum, tf.raw_ops.Add]))
    flip = p.chance() and op is not tf.raw_ops.Add
    if op is tf.raw_ops.Add:
        p.add(lambda t: op(x=t, y=tf.constant(constant)), x)
    else:
        p.add(lambda t: op(tf.constant(constant), t) if flip else op(t, tf.constant(constant)), x)


def binary(p: Program) -> None:
    x = p.pick()
    fits = [y for y in p.values if y.now.dtype == x.now.dtype and _broadcasts(x.shape, y.shape)]
    y = p.draw(st.sampled_from(fits))
    op = p.draw(st.sampled_from([tf.add, tf.multiply, tf.subtract, tf.maximum, tf.minimum]))
    p.add(op, x, y)


def _broadcasts(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(left, right)
    except ValueError:
        return False
    return True


def reshape(p: Program) -> None:
    x = p.pick()
    kind = p.number(0, 4)
    if kind == 0:
        p.add(lambda t: tf.reshape(t, tf.shape(t)), x)
    elif kind == 1 and len(x.shape) >= 2:
        # The batch of the shape, the rest together: what Flatten is.
        rest = int(np.prod(x.shape[1:]))
        p.add(lambda t: tf.reshape(t, tf.stack([tf.shape(t)[0], rest])), x)
    elif kind == 2 and len(x.shape) >= 2 and x.shape[-1]:
        p.add(lambda t: tf.reshape(t, [-1, x.shape[-1]]), x)
    elif kind == 3:
        at = p.number(0, len(x.shape))
        p.add(lambda t: tf.reshape(t, tf.concat([tf.shape(t)[:at], [1], tf.shape(t)[at:]], 0)), x)
    elif len(x.shape) >= 2:
        p.add(lambda t: tf.reshape(t, tf.concat([[tf.reduce_prod(tf.shape(t)[:2])], tf.shape(t)[2:]], 0)), x)


def expand(p: Program) -> None:
    x = p.pick()
    at = p.number(-len(x.shape) - 1, len(x.shape))
    p.add(lambda t: tf.expand_dims(t, at), x)


def squeeze(p: Program) -> None:
    x = p.pick()
    single = [at for at, dim in enumerate(x.shape) if dim == 1]
    if single:
        at = p.draw(st.sampled_from(single))
        p.add(lambda t: tf.squeeze(t, [at]), x)


def transpose(p: Program) -> None:
    x = p.pick()
    perm = np.array(p.draw(st.permutations(range(len(x.shape)))), np.int32)
    p.add(lambda t: tf.transpose(t, perm), x)
    if p.chance():
        unary(p)
    if p.chance() and len(p.values[-1].shape) == len(perm):
        back = np.argsort(perm)
        p.add(lambda t: tf.transpose(t, back), p.values[-1])


def pad(p: Program) -> None:
    x = p.pick()
    pads = np.array([[p.number(0, 1) * p.number(0, 1) for _ in range(2)] for _ in x.shape], np.int32).reshape(-1, 2)
    p.add(lambda t: tf.pad(t, pads), x)


def strided_slice(p: Program) -> None:
    x = p.pick()
    spec: list[Any] = []
    for dim in x.shape[: p.number(0, len(x.shape))]:
        kind = p.number(0, 5)
        if kind == 0:
            spec.append(tf.newaxis)
        if kind == 1 and dim:
            spec.append(p.number(-dim, dim - 1))
        else:
            bounds = st.none() | st.integers(-4, 4)
            spec.append(slice(p.draw(bounds), p.draw(bounds), p.draw(st.sampled_from([None, None, 1, 2, -1]))))
    if p.chance():
        spec.append(...)
        if p.chance():
            spec.append(tf.newaxis)
    if spec:
        p.add(lambda t: t[tuple(spec)], x)


def whole_slice(p: Program) -> None:
    x = p.pick()
    begin = np.zeros(len(x.shape), np.int32)
    if p.chance():
        p.add(lambda t: tf.slice(t, begin, begin - 1), x)
    else:
        p.add(lambda t: tf.slice(t, begin, tf.shape(t)), x)


def join(p: Program) -> None:
    x = p.pick()
    if not x.shape:
        return
    axis = p.number(-len(x.shape), len(x.shape) - 1)
    same = [y for y in p.values if y.now.dtype == x.now.dtype and _alike(x.shape, y.shape, axis)]
    y = p.draw(st.sampled_from(same))
    p.add(lambda *t: tf.concat(t, axis), x, y)


def _alike(left: tuple[int, ...], right: tuple[int, ...], axis: int) -> bool:
    at = axis % len(left)
    return len(left) == len(right) and all(a == b for n, (a, b) in enumerate(zip(left, right, strict=True)) if n != at)


def part(p: Program) -> None:
    x = p.pick()
    even = [at for at, dim in enumerate(x.shape) if dim and dim % 2 == 0 and x.later.shape[at] is not None]
    if not even:
        return
    axis = p.draw(st.sampled_from(even))
    if p.chance():
        p.add(lambda t: tf.split(t, 2, axis), x)
    else:
        p.add(lambda t: tf.concat(tf.split(t, 2, axis), axis), x)


def stack(p: Program) -> None:
    x = p.pick()
    same = [y for y in p.values if y.now.dtype == x.now.dtype and y.shape == x.shape]
    y = p.draw(st.sampled_from(same))
    axis = p.number(0, len(x.shape))
    take = p.chance()
    p.add(lambda *t: tf.unstack(tf.stack(t, axis), axis=axis, num=2)[1] if take else tf.stack(t, axis), x, y)


def spread(p: Program) -> None:
    x = p.pick()
    kind = p.number(0, 2)
    if kind == 0:
        times = np.array([1 + p.number(0, 1) * p.number(0, 1) for _ in x.shape], np.int32)
        p.add(lambda t: tf.tile(t, times), x)
    elif kind == 1:
        p.add(lambda t: tf.broadcast_to(t, tf.shape(t)), x)
    else:
        axes = np.array([at for at in range(len(x.shape)) if p.chance()], np.int32)
        p.add(lambda t: tf.reverse(t, axes), x)


def reduce(p: Program) -> None:
    x = p.pick()
    if 0 in x.shape:
        return
    axes = [at for at in range(len(x.shape)) if p.chance()]
    keep = p.chance()
    op = p.draw(st.sampled_from([tf.reduce_mean, tf.reduce_sum, tf.reduce_max]))
    p.add(lambda t: op(t, axes, keepdims=keep), x)


def softmax(p: Program) -> None:
    x = p.pick()
    if x.shape and x.shape[-1]:
        p.add(tf.nn.softmax, x)


def cast(p: Program) -> None:
    x = p.pick()
    through = p.draw(st.sampled_from([tf.float64, tf.float32, tf.float16]))
    back = x.now.dtype
    # A value that went through float16 has few digits, which rounding before it would show in.
    if through is tf.float16 and back is not tf.float16:
        return
    p.add(lambda t: tf.cast(tf.cast(t, through), back), x)


def integers(p: Program) -> None:
    """Integers and truths between floating-point numbers."""
    x = p.pick()
    p.add(lambda t: tf.cast(tf.shape(t), tf.float32) * 0.25, x)
    p.add(lambda t: tf.where(tf.zeros_like(t, tf.bool), t, t), x)
    p.add(lambda t: tf.cast(tf.cast(tf.ones_like(t, tf.int32) + 0, tf.int64), t.dtype) * t, x)


def dense(p: Program) -> None:
    x = p.pick()
    width = x.later.shape[-1] if len(x.shape) else None
    if not width or x.now.dtype != tf.float32:
        return
    w, b = p.weights(width, 2), p.weights(2)
    kind = p.number(0, 4)
    rank = len(x.shape)
    letters = "abcdef"[:rank]
    if kind == 0 and rank == 2:
        p.add(lambda t: tf.matmul(tf.transpose(t), tf.constant(w), transpose_a=True), x)
    elif kind == 1:
        p.add(lambda t: tf.einsum(f"{letters},{letters[-1]}z->{letters[:-1]}z", t, tf.constant(w)), x)
    elif kind == 2:
        heads = w.reshape(width, 2, 1)
        p.add(lambda t: tf.einsum("...y,yhd->...hd", t, tf.constant(heads)), x)
    elif kind == 3:
        p.add(lambda t: tf.einsum(f"z{letters[-1]},{letters}->{letters[:-1]}z", tf.constant(w.T), t), x)
    else:
        p.add(lambda t: tf.tensordot(t, tf.constant(w), 1), x)
    if p.values[-1].shape[-1:] == (2,) and len(p.values[-1].shape) >= 2 and p.chance():
        p.add(lambda t: tf.nn.relu(tf.nn.bias_add(t, tf.constant(b))), p.values[-1])


def product(p: Program) -> None:
    x = p.pick()
    if len(x.shape) < 2 or x.now.dtype != tf.float32:
        return
    letters = "abcdef"[: len(x.shape)]
    batch, row, column = letters[:-2], letters[-2], letters[-1]
    kind = p.number(0, 3)
    if kind == 0:
        p.add(lambda t: tf.matmul(t, t, transpose_b=True), x)
    elif kind == 1:
        p.add(lambda t: tf.matmul(tf.linalg.matrix_transpose(t), t), x)
    elif kind == 2:
        p.add(lambda t: tf.einsum(f"{letters},{batch}z{column}->{batch}{row}z", t, t), x)
    else:
        p.add(lambda t: tf.einsum(f"{letters}->{letters[::-1]}", t), x)


def image(p: Program) -> Pair | None:
    """A value with four axes, the last one known: one that there is, or one with axes added."""
    x = p.pick()
    if x.now.dtype != tf.float32 or not 1 <= len(x.shape) <= 4 or not x.later.shape[-1] or 0 in x.shape:
        return None
    while len(x.shape) < 4:
        p.add(lambda t: tf.expand_dims(t, 1), x)
        if p.values[-1] is x:
            return None
        x = p.values[-1]
    return x


def convolution(p: Program) -> None:
    x = image(p)
    if x is None:
        return
    depth = x.later.shape[-1]
    size, padding = (1, "VALID") if p.chance() else (3, "SAME")
    if p.chance() and p.chance():
        pads = [[0, 0], [p.number(0, 2), p.number(0, 2)], [p.number(0, 2), 1], [0, 0]]
        kernel = p.weights(1, 2, depth, 2)
        p.add(lambda t: tf.nn.conv2d(tf.pad(t, pads), tf.constant(kernel), 1, "VALID"), x)
    elif p.chance():
        kernel = p.weights(size, size, depth, 2)
        p.add(lambda t: tf.nn.conv2d(t, tf.constant(kernel), 1, padding), x)
    else:
        kernel = p.weights(size, size, depth, 1)
        p.add(lambda t: tf.nn.depthwise_conv2d(t, tf.constant(kernel), [1, 1, 1, 1], padding), x)
    if p.chance():
        normalise(p)


def parallel(p: Program) -> None:
    """Branches of convolutions that are summed or put side by side."""
    x = image(p)
    if x is None:
        return
    depth = x.later.shape[-1]
    left, right = p.weights(1, 1, depth, 2), p.weights(3, 3, depth, 2)
    joined = p.draw(st.sampled_from([tf.add, lambda *parts: tf.concat(parts, -1)]))
    p.add(lambda t: joined(tf.nn.conv2d(t, left, 1, "SAME"), tf.nn.conv2d(t, right, 1, "SAME")), x)


def stacked(p: Program) -> None:
    """Linear layers with nothing between."""
    x = image(p)
    if x is None:
        return
    depth = x.later.shape[-1]
    first, second = p.weights(1, 1, depth, 3), p.weights(3, 3, 3, 2)
    padding = p.draw(st.sampled_from(["SAME", "VALID"]))
    if padding == "SAME" or min(x.shape[1:3]) >= 3:
        p.add(lambda t: tf.nn.conv2d(tf.nn.conv2d(t, first, 1, "VALID"), second, 1, padding), x)


def normalise(p: Program) -> None:
    x = p.values[-1]
    if len(x.shape) != 4 or x.now.dtype != tf.float32 or not x.later.shape[-1] or 0 in x.shape:
        return
    gamma, beta, mean = (p.weights(x.shape[-1]) for _ in range(3))
    variance = 0.5 + np.abs(p.weights(x.shape[-1]))

    def fused(t: tf.Tensor) -> tf.Tensor:
        statistics = {"mean": mean, "variance": variance, "epsilon": 1e-3, "is_training": False}
        return tf.compat.v1.nn.fused_batch_norm(t, tf.constant(gamma), tf.constant(beta), **statistics)[0]

    def decomposed(t: tf.Tensor) -> tf.Tensor:
        return tf.nn.batch_normalization(t, mean, variance, tf.constant(beta), tf.constant(gamma), 1e-3)

    p.add(fused if p.chance() else decomposed, x)


def activation(p: Program) -> None:
    """Activations and norms as libraries write them, of several ops."""
    x = p.pick()
    dtype = x.now.dtype
    half = np.asarray(0.5, dtype.as_numpy_dtype)
    kind = p.number(0, 3)
    if kind == 0:
        p.add(lambda t: half * t * (tf.math.erf(t * np.asarray(0.7071067811865476, dtype.as_numpy_dtype)) + 1), x)
    elif kind == 1:
        p.add(lambda t: t * tf.nn.relu6(t + 3) * np.asarray(1 / 6, dtype.as_numpy_dtype), x)
    elif x.shape and x.shape[-1] and 0 not in x.shape and dtype != tf.float16:
        gamma, beta = p.like(x, p.weights(x.shape[-1])), p.like(x, p.weights(x.shape[-1]))

        def layer_norm(t: tf.Tensor) -> tf.Tensor:
            mean = tf.reduce_mean(t, -1, keepdims=True)
            variance = tf.reduce_mean(tf.math.squared_difference(t, mean), -1, keepdims=True)
            return (t - mean) * tf.math.rsqrt(variance + 0.1) * gamma + beta

        def by_hand(t: tf.Tensor) -> tf.Tensor:
            raised = tf.exp(t - tf.reduce_max(t, -1, keepdims=True))
            return raised / tf.reduce_sum(raised, -1, keepdims=True)

        p.add(layer_norm if kind == 2 else by_hand, x)


OPS: list[Callable[[Program], None]] = [
    unary, unary, with_constant, with_constant, binary, reshape, reshape, expand, squeeze, transpose, transpose, pad,
    strided_slice, strided_slice, whole_slice, join, part, stack, spread, reduce, softmax, cast, integers, dense, dense,
    product, convolution, convolution, convolution, parallel, stacked, activation, activation,
]  # fmt: skip


Feeds = dict[str, dict[str, np.ndarray]]


@st.composite
def programs(draw: st.DrawFn) -> tuple[Model, Feeds]:
    """A model, and what to feed each of its signatures by input name. A second signature is the same program once
    more, with inputs and weights of its own, as Keras 3 writes its models."""
    graph = tf.Graph()
    p = Program(draw, graph, np.random.default_rng(draw(st.integers(0, 99))))
    inputs = {name: _input(p, name) for name in ("x", "y")[: draw(st.integers(1, 2))]}
    p.values += inputs.values()
    for op in draw(st.lists(st.sampled_from(OPS), min_size=1, max_size=12)):
        op(p)
    shown = [p.values[-1], *draw(st.lists(st.sampled_from(p.values), max_size=2))]
    with graph.as_default():
        # What is fed cannot be fetched.
        fetched = [tf.identity(pair.later).op.name for pair in shown]
    imported = from_graph_def(graph.as_graph_def(), inputs=tuple(inputs), outputs=tuple(map(Value, fetched)))
    model = Model(imported, {"serving_default": _signature(imported, {name: name for name in inputs}, 0)})
    feeds = {"serving_default": {name: pair.now.numpy() for name, pair in inputs.items()}}
    return (_twice(model), {**feeds, "serve": feeds["serving_default"]}) if draw(st.booleans()) else (model, feeds)


def _signature(graph: Graph, inputs: Mapping[str, str], first: int) -> Signature:
    fed = {name: SignatureInput(node, graph[node].outputs[0]) for name, node in inputs.items()}
    values = enumerate(graph.outputs[first:], first)
    return Signature(fed, {f"out{at - first}": SignatureOutput(at, graph.type_of(value)) for at, value in values})


def _twice(model: Model) -> Model:
    graph = model.graph
    copies = [
        replace(node, name=f"serve/{node.name}", inputs=tuple(_copied(value) for value in node.inputs))
        for node in graph
    ]
    both = Graph(
        (*graph.nodes, *copies),
        (*graph.inputs, *(f"serve/{name}" for name in graph.inputs)),
        (*graph.outputs, *map(_copied, graph.outputs)),
    )
    second = _signature(both, {name: f"serve/{name}" for name in graph.inputs}, len(graph.outputs))
    return Model(both, {**model.signatures, "serve": second})


def _copied(value: Value) -> Value:
    return Value(f"serve/{value.node}", value.port)


def _input(p: Program, name: str) -> Pair:
    rank = p.draw(st.sampled_from([1, 2, 2, 3, 3, 4, 4]))
    shape = [p.draw(st.sampled_from([1, 2, 3])) for _ in range(rank)]
    if p.number(0, 15) == 0:
        shape[0] = 0
    known = [dim if p.number(0, 2) else None for dim in shape[:-1]] + [shape[-1] if p.number(0, 7) else None]
    dtype = p.draw(st.sampled_from([tf.float32] * 6 + [tf.float64, tf.float16]))
    now = tf.constant(p.rng.standard_normal(shape), dtype)
    with p.graph.as_default():
        return Pair(now, tf.compat.v1.placeholder(dtype, known, name))
