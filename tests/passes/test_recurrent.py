"""Recurrent layers and loops over arrays, through the whole exact recipe and out to both loaders and LiteRT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tests import recurrent
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.bodies import WHILES, all_nodes
from tfopt.ir.graph import Graph, Model
from tfopt.pipeline import PipelineResult, run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.targets.saved_model import write_saved_model
from tfopt.targets.tflite import write_tflite

Builder = Callable[[Path], Path]
Built = Callable[[Builder], Path]
Feeds = Mapping[str, NDArray[Any]]


def series(batch: int, length: int) -> Feeds:
    return {"series": np.random.default_rng(batch).normal(size=(batch, length, 3)).astype(np.float32)}


def ids(batch: int, length: int) -> Feeds:
    """Some of them padded with the zeros that are masked."""
    drawn = np.random.default_rng(batch).integers(1, 9, (batch, length)).astype(np.int32)
    drawn[0, length // 2 :] = 0
    return {"ids": drawn}


def rows(count: int, n: int) -> Feeds:
    return {"x": series(1, count)["series"][0], "n": np.array(n, np.int32)}


CALLS: Mapping[Builder, tuple[Feeds, ...]] = {
    recurrent.layers: (series(1, 20), series(8, 20)),
    recurrent.open_layers: (series(1, 20), series(3, 1), series(2, 37)),
    recurrent.masked_layers: (ids(1, 6), ids(5, 17)),
    recurrent.tensor_arrays: (rows(1, 3), rows(7, 12)),
}


@cache
def exact(path: Path) -> PipelineResult:
    return run_pipeline(read_saved_model(path), load_recipe("exact"))


def ops(model: Model) -> list[str]:
    return [node.op for node in all_nodes(model.graph)]


@pytest.mark.parametrize("builder", CALLS, ids=lambda builder: builder.__name__)
def test_both_loaders_compute_what_the_original_computes(builder: Builder, built: Built, tmp_path: Path) -> None:
    written = write_saved_model(exact(built(builder)).model, tmp_path / "model").path
    loaded = tf.saved_model.load(str(written)).signatures["serving_default"]
    with TensorFlowRuntime(built(builder)) as original, TensorFlowRuntime(written) as runtime:
        for feeds in CALLS[builder]:
            expected = original.run("serving_default", feeds)
            same(runtime.run("serving_default", feeds), expected)
            called = loaded(**{name: tf.constant(array) for name, array in feeds.items()})
            same({name: tensor.numpy() for name, tensor in called.items()}, expected)


@pytest.mark.parametrize("builder", [recurrent.layers, recurrent.open_layers, recurrent.masked_layers])
def test_an_empty_batch_makes_what_the_original_makes_of_it(builder: Builder, built: Built) -> None:
    with TensorFlowRuntime(built(builder)) as original, ModelRunner(exact(built(builder)).model) as runtime:
        for feeds in CALLS[builder]:
            empty = {name: array[:0] for name, array in feeds.items()}
            same(runtime.run("serving_default", empty), original.run("serving_default", empty))


@pytest.mark.parametrize("builder", [recurrent.layers, recurrent.open_layers, recurrent.masked_layers])
def test_tensorflow_lite_runs_them_without_tensorflows_ops(builder: Builder, built: Built, tmp_path: Path) -> None:
    path = write_tflite(exact(built(builder)).model, tmp_path / "model.tflite").path
    assert b"FlexTensorList" not in path.read_bytes()
    with TensorFlowRuntime(built(builder)) as original, LiteRTRuntime(path) as runtime:
        for feeds in CALLS[builder]:
            same(runtime.run("serving_default", feeds), original.run("serving_default", feeds), 1e-4)


def same(made: Feeds, expected: Feeds, tolerance: float = 1e-5) -> None:
    assert made.keys() == expected.keys()
    for name, array in expected.items():
        assert (made[name].shape, made[name].dtype) == (array.shape, array.dtype), name
        np.testing.assert_allclose(made[name], array, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("builder", [recurrent.layers, recurrent.open_layers, recurrent.masked_layers])
def test_no_list_is_left_in_a_layer(builder: Builder, built: Built) -> None:
    assert not [op for op in ops(exact(built(builder)).model) if "TensorList" in op]


@pytest.mark.parametrize("builder", [recurrent.layers, recurrent.open_layers, recurrent.masked_layers])
def test_no_loop_multiplies_a_row_that_it_reads(builder: Builder, built: Built) -> None:
    loops = [node for node in exact(built(builder)).model.graph if node.op in WHILES]
    assert loops
    for loop in loops:
        body = loop.attrs["body"]
        assert isinstance(body, Graph)
        read = [body.producer(product.inputs[0]).op for product in body.by_op["MatMul"]]
        assert read and "GatherV2" not in read and "Unpack" not in read


def test_an_array_that_grows_stays_a_list_and_says_why(built: Built) -> None:
    result = exact(built(recurrent.tensor_arrays))
    assert "TensorListSetItem" in ops(result.model)
    found = [finding for row in result.ledger if row.step == "lower_tensor_lists" for finding in row.findings]
    assert any("grows while it is written" in finding.message for finding in found if not finding.done)
