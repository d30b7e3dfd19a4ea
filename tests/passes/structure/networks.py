"""Random networks: blocks of layers as they are met in the wild, drawn one behind the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tfopt.formats.graph_def import from_graph_def
from tfopt.ir.graph import Graph, Value

_Image = tf.Tensor


class _Network:
    """Grows by a block a call; `images` are its values so far, [?, height, width, channels]."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 99)))
        self.images: list[_Image] = []

    def weights(self, *shape: int) -> tf.Tensor:
        fan_in = max(1, int(np.prod(shape[:-1])))
        return tf.constant(self.rng.normal(0, fan_in**-0.5, shape).astype(np.float32))

    def vector(self, size: int) -> tf.Tensor:
        """Equal ones are one constant, as after `merge_duplicates`."""
        if self.chance():
            return tf.constant(0.5 + self.rng.random(size).astype(np.float32))
        graph = tf.compat.v1.get_default_graph()
        name = f"ones{size}"
        if name not in {operation.name for operation in graph.get_operations()}:
            tf.constant(np.full(size, 0.7, np.float32), name=name)
        return graph.get_tensor_by_name(f"{name}:0")

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def pick(self) -> _Image:
        return self.images[-1] if self.number(0, 3) else self.draw(st.sampled_from(self.images))

    def alike(self, image: _Image, axes: slice) -> list[_Image]:
        """Those of the same size along these axes."""
        return [other for other in self.images if other.shape[axes] == image.shape[axes]]


def convolution(n: _Network) -> _Image:
    x = n.pick()
    size, width = n.draw(st.sampled_from([1, 3])), n.number(2, 6)
    stride = n.number(1, 2) if x.shape[1] > 2 else 1
    made = tf.nn.conv2d(x, n.weights(size, size, x.shape[-1], width), stride, "SAME")
    return tf.nn.relu(tf.nn.bias_add(made, n.vector(width))) if n.chance() else made


def depthwise(n: _Network) -> _Image:
    x = n.pick()
    made = tf.nn.depthwise_conv2d(x, n.weights(3, 3, x.shape[-1], n.number(1, 2)), [1, 1, 1, 1], "SAME")
    return tf.nn.relu6(made)


def grouped(n: _Network) -> _Image:
    x = n.pick()
    groups = n.draw(st.sampled_from([group for group in range(1, x.shape[-1] + 1) if x.shape[-1] % group == 0]))
    return tf.nn.conv2d(x, n.weights(1, 1, x.shape[-1] // groups, groups * n.number(1, 3)), 1, "SAME")


def transposed(n: _Network) -> _Image:
    x = n.pick()
    width = n.number(2, 4)
    shape = tf.stack([tf.shape(x)[0], x.shape[1], x.shape[2], width])
    return tf.nn.conv2d_transpose(x, n.weights(3, 3, width, x.shape[-1]), shape, 1, "SAME")


def normalised(n: _Network) -> _Image:
    x = n.pick()
    gamma, beta, mean, variance = (n.vector(x.shape[-1]) for _ in range(4))
    if n.chance():
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
    options = {"mean": mean, "variance": variance, "is_training": False}
    return tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, **options)[0]


def residual(n: _Network) -> _Image:
    x = n.pick()
    inner = tf.nn.relu(tf.nn.conv2d(x, n.weights(3, 3, x.shape[-1], n.number(2, 5)), 1, "SAME"))
    made = tf.nn.conv2d(inner, n.weights(1, 1, inner.shape[-1], x.shape[-1]), 1, "SAME")
    return n.draw(st.sampled_from([tf.add, tf.maximum, lambda one, other: tf.add_n([one, other, one])]))(made, x)


def joined(n: _Network) -> _Image:
    x = n.pick()
    return tf.concat([x, n.draw(st.sampled_from(n.alike(x, slice(1, 3))))], -1)


def squeezed_and_excited(n: _Network) -> _Image:
    x = n.pick()
    pooled = tf.reduce_mean(x, [1, 2], keepdims=True)
    few = tf.nn.relu(tf.nn.conv2d(pooled, n.weights(1, 1, x.shape[-1], 3), 1, "SAME"))
    return x * tf.nn.sigmoid(tf.nn.conv2d(few, n.weights(1, 1, 3, x.shape[-1]), 1, "SAME"))


def parted(n: _Network) -> _Image:
    """In two, by Split, SplitV, Slice or StridedSlice, one of which goes its own way."""
    x = n.pick()
    width = x.shape[-1]
    if width < 2:
        return x
    at, kind = n.number(1, width - 1), n.number(0, 3)
    if kind == 0 and width % 2 == 0:
        first, second = tf.split(x, 2, -1)
    elif kind == 1:
        first, second = tf.split(x, [at, -1], -1)
    elif kind == 2:
        first, second = tf.slice(x, [0, 0, 0, 0], [-1, -1, -1, at]), tf.slice(x, [0, 0, 0, at], [-1, -1, -1, -1])
    else:
        first, second = x[..., :at], x[..., at - width :]
    own = tf.nn.conv2d(first, n.weights(1, 1, first.shape[-1], n.number(1, 3)), 1, "SAME")
    return tf.concat([second, own] if n.chance() else [first, own, second], -1)


def padded(n: _Network) -> _Image:
    x = n.pick()
    return tf.pad(x, [[0, 0], [1, 0], [0, 1], [n.number(0, 2), n.number(0, 1)]], constant_values=n.number(0, 1))


def channels_first(n: _Network) -> _Image:
    x = tf.transpose(n.pick(), [0, 3, 1, 2])
    made = (
        x * tf.reshape(n.vector(x.shape[1]), [-1, 1, 1])
        if n.chance()
        else tf.nn.bias_add(x, n.vector(x.shape[1]), "NCHW")
    )
    return tf.transpose(tf.reverse(made, [2]), [0, 2, 3, 1])


def shuffled(n: _Network) -> _Image:
    """ShuffleNet's: groups of channels are mixed."""
    x = n.pick()
    groups = n.draw(st.sampled_from([group for group in range(1, x.shape[-1] + 1) if x.shape[-1] % group == 0]))
    sides = [tf.shape(x)[0], x.shape[1], x.shape[2]]
    parts = tf.reshape(x, tf.stack([*sides, groups, x.shape[-1] // groups]))
    return tf.reshape(tf.transpose(parts, [0, 1, 2, 4, 3]), tf.stack([*sides, x.shape[-1]]))


def pooled(n: _Network) -> _Image:
    x = n.pick()
    kind = n.number(0, 3)
    if kind == 0:
        return tf.nn.max_pool2d(x, 2, 1, "SAME")
    if kind == 1:
        return tf.image.resize(x, [2, 3])
    if kind == 2:
        return tf.nn.space_to_depth(tf.nn.avg_pool2d(tf.image.resize(x, [4, 4]), 3, 1, "SAME"), 2)
    return tf.tile(x, [1, 1, 1, 2])


def elementwise(n: _Network) -> _Image:
    x = n.pick()
    return n.draw(
        st.sampled_from(
            [
                lambda: tf.where(x > 0, x, x * n.vector(x.shape[-1])),
                lambda: tf.nn.softmax(x, 1) + tf.zeros_like(x),
                lambda: tf.nn.softmax(x) * 2,
                lambda: x - tf.reduce_mean(x, -1, keepdims=True),
                lambda: tf.cumsum(tf.tanh(x), 1),
                lambda: x + tf.zeros(tf.shape(x)),
                lambda: x * tf.broadcast_to(n.vector(x.shape[-1]), tf.shape(x)),
                lambda: tf.gather(x, [1, 0], axis=2) if x.shape[2] == 2 else x[:, ::-1],
            ]
        )
    )()


def attention(n: _Network) -> _Image:
    """Over the places of an image, in two heads."""
    x = n.pick()
    places, inner = x.shape[1] * x.shape[2], 2 * n.number(1, 3)
    rows = tf.reshape(x, [-1, places, x.shape[-1]])

    def heads(values: tf.Tensor) -> tf.Tensor:
        flat = (
            tf.einsum("btc,cd->btd", values, n.weights(x.shape[-1], inner))
            if n.chance()
            else values @ n.weights(x.shape[-1], inner)
        )
        return tf.transpose(tf.reshape(flat, [-1, places, 2, inner // 2]), [0, 2, 1, 3])

    query, key, value = heads(rows), heads(rows), heads(rows)
    mixed = tf.nn.softmax(tf.matmul(query, key, transpose_b=True)) @ value
    joined_heads = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, places, inner])
    made = tf.reshape(joined_heads @ n.weights(inner, x.shape[-1]), tf.shape(rows))
    return tf.reshape(rows + made, [-1, x.shape[1], x.shape[2], x.shape[-1]])


def gated(n: _Network) -> _Image:
    """A recurrent cell, from row to row, in a loop or unrolled."""
    x = n.pick()
    units = n.number(2, 4)
    kernel, recurrent = n.weights(x.shape[2] * x.shape[-1], 3 * units), n.weights(units, 3 * units)
    rows = tf.reshape(x, [-1, x.shape[1], x.shape[2] * x.shape[-1]])
    zeros = tf.zeros(tf.stack([tf.shape(x)[0], units]))

    def cell(row: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        update, forget, new = tf.split(row @ kernel + state @ recurrent, 3, -1)
        return tf.sigmoid(forget) * state + tf.sigmoid(update) * tf.tanh(new)

    if n.chance():
        state = zeros
        for row in tf.unstack(rows, axis=1):
            state = cell(row, state)
    else:
        step = lambda i, held: (i + 1, cell(tf.gather(rows, i, axis=1), held))  # noqa: E731
        _, state = tf.while_loop(lambda i, _: i < x.shape[1], step, (0, zeros))
    return tf.reshape(state, [-1, 1, 1, units])


_BLOCKS: list[Callable[[_Network], _Image]] = [
    convolution, convolution, convolution, convolution, depthwise, grouped, transposed, normalised, residual, residual,
    joined, squeezed_and_excited, parted, parted, padded, channels_first, shuffled, pooled, elementwise, attention,
    gated,
]  # fmt: skip


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """An image [?, 4, 4, 3] to one or two outputs [?, 2]."""
    graph = tf.Graph()
    with graph.as_default():
        n = _Network(draw)
        n.images.append(tf.compat.v1.placeholder(tf.float32, [None, 4, 4, 3], "image"))
        for block in draw(st.lists(st.sampled_from(_BLOCKS), min_size=2, max_size=7)):
            made = block(n)
            if int(np.prod(made.shape[1:])) <= 2000:
                n.images.append(made)
        shown = [n.images[-1], *draw(st.lists(st.sampled_from(n.images), max_size=1))]
        fetched = [_head(n, image).op.name for image in shown]
    return from_graph_def(graph.as_graph_def(), inputs=("image",), outputs=tuple(map(Value, fetched)))


def _head(n: _Network, image: _Image) -> tf.Tensor:
    flat = tf.reshape(image, [-1, int(np.prod(image.shape[1:]))])
    features = flat if n.chance() else tf.reduce_mean(image, [1, 2])
    hidden = tf.nn.relu(tf.matmul(features, n.weights(features.shape[-1], 4)) + n.vector(4))
    return tf.matmul(hidden, tf.transpose(n.weights(2, 4)) if n.chance() else n.weights(4, 2))
