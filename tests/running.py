"""Run graphs of the IR under TensorFlow, for tests: what a graph computes is what TensorFlow says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2

from tfopt.formats.graph_def import to_graph_def
from tfopt.ir.graph import Graph
from tfopt.ir.types import DType, TensorType, numpy_dtype


def feeds_for(graph: Graph, seed: int = 0, unknown: int = 2) -> dict[str, NDArray[Any]]:
    """A random array for each input; unknown dimensions are `unknown`."""
    rng = np.random.default_rng(seed)
    return {name: _drawn(graph[name].outputs[0], rng, unknown) for name in graph.inputs}


def _drawn(made: TensorType, rng: np.random.Generator, unknown: int) -> NDArray[Any]:
    dims = [unknown if dim is None else dim for dim in made.shape.dims or ()]
    if made.dtype is DType.STRING:
        return np.full(dims, b"text", object)
    if made.dtype is DType.BOOL:
        return rng.integers(0, 2, dims).astype(np.bool_)
    drawn = rng.standard_normal(dims) if made.dtype.is_floating else rng.integers(0, 5, dims)
    return np.asarray(drawn, numpy_dtype(made.dtype))


def run_graph(graph: Graph, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The outputs by position, computed by TensorFlow's kernels without its own graph optimizer."""
    config = config_pb2.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(to_graph_def(graph), name="")
        with tf.compat.v1.Session(graph=imported, config=config) as session:
            fetches = [f"{value.node}:{value.port}" for value in graph.outputs]
            made = session.run(fetches, {f"{name}:0": array for name, array in feeds.items()})
            return [np.asarray(out, object if isinstance(out, bytes) else None) for out in made]
