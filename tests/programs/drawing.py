"""Draws programs: a model of ops from all rooms, and what to feed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests.programs.elements import activation, binary, cast, integers, reduce, softmax, unary, with_constant
from tests.programs.layers import convolution, dense, parallel, product, stacked
from tests.programs.program import Pair, Program
from tests.programs.shapes import (
    expand,
    join,
    pad,
    part,
    reshape,
    spread,
    squeeze,
    stack,
    strided_slice,
    transpose,
    whole_slice,
)
from tfopt.formats.graph_def import from_graph_def
from tfopt.ir.graph import Graph, Model, Signature, SignatureInput, SignatureOutput, Value

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
