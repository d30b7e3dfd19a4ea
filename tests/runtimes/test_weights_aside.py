"""Graphs whose weights reach the session beside the protobuf."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.running import feeds_for, run_graph
from tfopt.errors import ConversionError
from tfopt.formats.shapes import with_types
from tfopt.ir import DType, Graph, Node, Shape, Tensor, TensorType
from tfopt.ir.text import parse
from tfopt.runtimes.weights_aside import import_graph

GRAPH = parse(
    """
    graph {
      %x = Placeholder() {dtype: float32, shape: [?,6]} -> float32[?,6]
      %w = Const() {dtype: float32, value: float32[6,3] random(1)} -> float32[6,3]
      %y = MatMul(%x, %w) {T: float32} -> float32[?,3]
      %words = Const() {dtype: string, value: string[3] ["a", "b", "c"]} -> string[3]
      %one = Const() {dtype: int32, value: int32[] 1} -> int32[]
      %best = ArgMax(%y, %one) {T: float32} -> int64[?]
      %zero = Const() {dtype: int32, value: int32[] 0} -> int32[]
      %named = GatherV2(%words, %best, %zero) {Tparams: string, Tindices: int64, Taxis: int32} -> string[?]
      %bits = Const() {dtype: bool, value: bool[3] [true, false, true]} -> bool[3]
      %picked = GatherV2(%bits, %best, %zero) {Tparams: bool, Tindices: int64, Taxis: int32} -> bool[?]
      inputs %x
      outputs %y, %named, %picked, %w
    }
    """
)


@pytest.mark.parametrize("over", [0, 1 << 20])
def test_the_same_with_and_without_weights_in_the_protobuf(over: int) -> None:
    feeds = feeds_for(GRAPH)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        import_graph(GRAPH, session, over)
        got = session.run(
            [f"{value.node}:{value.port}" for value in GRAPH.outputs],
            {f"{name}:0": array for name, array in feeds.items()},
        )
        assert any(operation.type == "VarHandleOp" for operation in graph.get_operations()) == (over == 0)
    for made, expected in zip(got, run_graph(GRAPH, feeds), strict=True):
        np.testing.assert_array_equal(made, expected)


def huge(**changed: object) -> Node:
    """Strides of 0: it takes no memory, and says that it is 3.2 GB."""
    tensor = Tensor(np.broadcast_to(np.float32(1), (40_000, 20_000)))
    return replace(Node("huge", "Const", (), {"dtype": DType.FLOAT32, "value": tensor}, (tensor.type,)), **changed)


def test_types_of_a_graph_of_more_than_2_gb() -> None:
    attrs = {"dtype": DType.FLOAT32, "shape": Shape.of(None, 40_000)}
    nodes = [Node("x", "Placeholder", (), attrs), huge(outputs=())]
    nodes.append(Node("y", "MatMul", (nodes[0].value(), nodes[1].value()), {"T": DType.FLOAT32}))
    assert with_types(nodes)[2].outputs == (TensorType(DType.FLOAT32, Shape.of(None, 20_000)),)


def test_constants_that_cannot_go_aside_are_refused_by_name() -> None:
    graph = Graph((huge(),), outputs=(huge().value(),))
    refused = pytest.raises(ConversionError, match=r"huge: 3,200,000,000 bytes.*large weights in variables")
    with tf.Graph().as_default() as imported, tf.compat.v1.Session(graph=imported) as session, refused:
        import_graph(graph, session)
