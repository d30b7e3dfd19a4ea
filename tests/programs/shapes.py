"""Ops that move elements: reshapes, transposes, slices, pads, parts and what is put together."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests.programs.elements import unary
from tests.programs.program import Program


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
