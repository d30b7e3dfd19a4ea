"""Models in memory that the tests of targets and runtimes share, written as text or drawn in a TensorFlow graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tfopt.formats.graph_def import from_graph_def
from tfopt.ir import Asset, Graph, Model, Signature, SignatureInput, SignatureOutput, Tensor
from tfopt.ir.graph import Value
from tfopt.ir.grid import Grid
from tfopt.ir.text import parse
from tfopt.ir.verify import verify_model


def model_of(
    graph: Graph,
    signatures: Mapping[str, tuple[Mapping[str, str], Mapping[str, int]]],
    defaults: Mapping[str, Tensor] | None = None,
    **rest: object,
) -> Model:
    """`signatures`: key to (input name to Placeholder, output name to position among the graph's outputs)."""
    made = {
        key: Signature(
            {name: SignatureInput(node, graph[node].outputs[0]) for name, node in inputs.items()},
            {name: SignatureOutput(place, graph.type_of(graph.outputs[place])) for name, place in outputs.items()},
            defaults=defaults or {},
        )
        for key, (inputs, outputs) in signatures.items()
    }
    model = Model(graph, made, **rest)
    verify_model(model)
    return model


def with_grids(graph: Graph, grids: Mapping[Value, Grid]) -> Graph:
    """The graph with these grids, its constants on theirs."""
    nodes = tuple(
        node.with_attrs(value=Tensor(grids[node.value()].snapped(node.tensor.array)))
        if node.op == "Const" and node.value() in grids
        else node
        for node in graph
    )
    return replace(graph, nodes=nodes, grids=grids)


def layers() -> Model:
    """Two signatures over one embedding and two matrices, one of which stands behind an Identity."""
    graph = parse(
        """
        graph {
          %ids = Placeholder() {dtype: int32, shape: [?]} -> int32[?]
          %x = Placeholder() {dtype: float32, shape: [?,8]} -> float32[?,8]
          %table = Const() {dtype: float32, value: float32[32,8] random(1)} -> float32[32,8]
          %axis = Const() {dtype: int32, value: int32[] 0} -> int32[]
          %rows = GatherV2(%table, %ids, %axis) {Tparams: float32, Tindices: int32, Taxis: int32} -> float32[?,8]
          %kernel = Const() {dtype: float32, value: float32[8,24] random(2)} -> float32[8,24]
          %read = Identity(%kernel) {T: float32} -> float32[8,24]
          %from_ids = MatMul(%rows, %read) {T: float32} -> float32[?,24]
          %from_x = MatMul(%x, %read) {T: float32} -> float32[?,24]
          %offset = Const() {dtype: float32, value: float32[24] random(3)} -> float32[24]
          %sum = AddV2(%from_x, %offset) {T: float32} -> float32[?,24]
          inputs %ids, %x
          outputs %from_ids, %sum, %rows
        }
        """
    )
    return model_of(graph, {"by_id": ({"ids": "ids"}, {"y": 0, "row": 2}), "serving_default": ({"x": "x"}, {"y": 1})})


def convolution() -> Model:
    """image float32[?,6,6,2] -> features float32[?,6,6,3]: a filter that must stay a constant."""
    graph = parse(
        """
        graph {
          %image = Placeholder() {dtype: float32, shape: [?,6,6,2]} -> float32[?,6,6,2]
          %filter = Const() {dtype: float32, value: float32[3,3,2,3] random(1)} -> float32[3,3,2,3]
          %conv = Conv2D(%image, %filter) {T: float32, strides: (1, 1, 1, 1), padding: "SAME"} -> float32[?,6,6,3]
          %features = Relu(%conv) {T: float32} -> float32[?,6,6,3]
          inputs %image
          outputs %features
        }
        """
    )
    return model_of(graph, {"serving_default": ({"image": "image"}, {"features": 0})})


def echoes() -> Model:
    """Outputs that are an input, a constant, and one value under two names."""
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
          %version = Const() {dtype: string, value: string[2] ["a", "b"]} -> string[2]
          %y = Neg(%x) {T: float32} -> float32[?]
          inputs %x
          outputs %x, %version, %y, %y
        }
        """
    )
    return model_of(graph, {"serving_default": ({"x": "x"}, {"same": 0, "version": 1, "y": 2, "z": 3})})


def lookup() -> Model:
    """words string[?] -> ids int64[?]: a table filled from an asset by the init op."""
    with tf.Graph().as_default() as drawn:
        path = tf.constant("elsewhere", name="path")
        words = tf.compat.v1.placeholder(tf.string, [None], name="words")
        table = tf.raw_ops.HashTableV2(
            key_dtype=tf.string, value_dtype=tf.int64, shared_name="vocabulary", name="table"
        )
        init = tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=table, filename=path, key_index=-2, value_index=-1, name="init"
        )
        fallback = tf.constant(-1, tf.int64)
        tf.raw_ops.LookupTableFindV2(table_handle=table, keys=words, default_value=fallback, name="ids")
        assert init.name == "init"
        graph = from_graph_def(drawn.as_graph_def(), inputs=["words"], outputs=[Value("ids")], targets=["init"])
    asset = Asset("vocabulary.txt", "path", b"the\nquick\nfox\n")
    return model_of(graph, {"serving_default": ({"words": "words"}, {"ids": 0})}, init="init", assets=(asset,))


def with_default() -> Model:
    """y = x * scale, where scale may be left out."""
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
          %scale = Placeholder() {dtype: float32, shape: []} -> float32[]
          %y = Mul(%x, %scale) {T: float32} -> float32[?]
          inputs %x, %scale
          outputs %y
        }
        """
    )
    default = {"scale": Tensor(np.array(3.0, np.float32))}
    return model_of(graph, {"serving_default": ({"x": "x", "scale": "scale"}, {"y": 0})}, default)


def normal(*shape: int, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


IDS = np.array([3, 0, 31], np.int32)

#: Models by what they are of, with a call of each signature.
CALLS: dict[str, tuple[Model, dict[str, dict[str, np.ndarray]]]] = {
    "layers": (layers(), {"by_id": {"ids": IDS}, "serving_default": {"x": normal(5, 8)}}),
    "convolution": (convolution(), {"serving_default": {"image": normal(2, 6, 6, 2)}}),
    "echoes": (echoes(), {"serving_default": {"x": normal(4)}}),
    "lookup": (lookup(), {"serving_default": {"words": np.array([b"fox", b"?", b"the"], object)}}),
    "with_default": (with_default(), {"serving_default": {"x": normal(3)}}),
}


def rounded_branch() -> Model:
    """`x` where `up` says so, what is negative as 0, else -x on a grid of steps of 1."""
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [2]} -> float32[2]
          %up = Placeholder() {dtype: bool, shape: []} -> bool[]
          %y = If(%up, %x) {Tcond: bool, Tin: (float32), Tout: (float32), else_branch: graph {
            %a = Placeholder() {dtype: float32, shape: [2]} -> float32[2]
            %b = Neg(%a) {T: float32} -> float32[2]
            inputs %a
            outputs %b
            grid %b {axes: (), bits: 8, narrow: true, scales: float32[1] [1.0], signed: true, zero_point: 0}
          }, output_shapes: ([2]), then_branch: graph {
            %a = Placeholder() {dtype: float32, shape: [2]} -> float32[2]
            %b = Relu(%a) {T: float32} -> float32[2]
            inputs %a
            outputs %b
          }} -> float32[2]
          inputs %x, %up
          outputs %y
        }
        """
    )
    return model_of(graph, {"serving_default": ({"x": "x", "up": "up"}, {"y": 0})})
