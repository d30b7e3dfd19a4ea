"""Weights of few different numbers."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from tests.passes.decided import IMAGE, conv, model_of, op
from tests.running import feeds_for, run_graph
from tfopt.data import Samples
from tfopt.errors import InvalidRecipe
from tfopt.ir.verify import verify_model
from tfopt.learn.moments import SampleMoments
from tfopt.passes.cluster_weights import cluster_weights
from tfopt.passes.prune_magnitude import prune_magnitude
from tfopt.passes.weights.codebooks import codebook, nearest

NETWORK = IMAGE + conv("a", "x") + op("ar", "Relu", "a") + conv("d", "ar", op="DepthwiseConv2dNative") + conv("y", "d")


def test_each_layer_has_so_many_numbers_and_compresses() -> None:
    model = model_of(NETWORK, "%y")
    made = cluster_weights(model, clusters=8).model
    verify_model(made)
    for name in ("a_w", "y_w"):
        before, after = model.graph[name].tensor.array, made.graph[name].tensor.array
        assert len(np.unique(after)) == 8
        assert np.abs(after - before).max() < np.ptp(before) / 4
        assert len(gzip.compress(after.tobytes())) < len(gzip.compress(before.tobytes())) / 2
    assert made.graph["d_w"].tensor is model.graph["d_w"].tensor
    again = cluster_weights(made, clusters=8)
    assert again.model is made
    assert not any(finding.done for finding in again.findings)


def test_zeros_stay_and_nothing_else_becomes_zero() -> None:
    pruned = prune_magnitude(model_of(NETWORK, "%y"), sparsity=0.5).model
    made = cluster_weights(pruned, clusters=4).model
    for name in ("a_w", "y_w"):
        assert np.array_equal(made.graph[name].tensor.array == 0, pruned.graph[name].tensor.array == 0)
        assert len(np.unique(made.graph[name].tensor.array)) == 4


def test_samples_say_which_weights_matter() -> None:
    """Inputs of which one channel is a hundred times as strong."""
    model = model_of(IMAGE + conv("y", "x"), "%y")
    shape = [dim or 1 for dim in model.graph["x"].outputs[0].shape.dims or ()]
    data = np.random.default_rng(1).standard_normal((64, *shape[1:])).astype(np.float32)
    data[..., 0] *= 100
    key, signature = next(iter(model.signatures.items()))
    seen = SampleMoments({key: Samples({next(iter(signature.inputs)): data}, "file", "drawn")})
    feeds = {"x": data[:16]}
    expected = run_graph(model.graph, feeds)[0]
    plain, weighed = (cluster_weights(model, moments, clusters=4).model for moments in (None, seen))
    errors = [np.square(run_graph(each.graph, feeds)[0] - expected).sum() for each in (plain, weighed)]
    assert errors[1] < errors[0]


def test_a_codebook_is_that_of_k_means() -> None:
    numbers = np.concatenate([np.full(5, -1.0), np.linspace(0.9, 1.1, 5), [7.0]])
    found = codebook(numbers, np.ones(len(numbers)), 3)
    assert np.allclose(found, [-1.0, 1.0, 7.0])
    assert np.array_equal(np.unique(nearest(numbers, found)), found)
    assert np.array_equal(codebook(np.array([1.0, 2.0, 1.0]), np.ones(3), 8), [1.0, 2.0])


def test_one_number_is_too_few() -> None:
    with pytest.raises(InvalidRecipe, match="clusters is 1"):
        cluster_weights(model_of(NETWORK, "%y"), clusters=1)


def test_the_result_runs() -> None:
    model = model_of(NETWORK, "%y")
    feeds = feeds_for(model.graph)
    expected = run_graph(model.graph, feeds)[0]
    made = run_graph(cluster_weights(model, clusters=64, depthwise=True).model.graph, feeds)[0]
    assert np.square(made - expected).sum() < 0.01 * np.square(expected).sum()
