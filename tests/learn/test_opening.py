"""A graph whose weights come from outside computes the same, and its gradients are what differences are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tfopt.data import synthetic_samples
from tfopt.evidence import input_types
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model
from tfopt.learn.lifting import Weight, trainable
from tfopt.learn.network import Network
from tfopt.learn.opening import opened
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import ModelRunner

Built = Callable[[Callable[[Path], Path]], Path]


def arrays_of(model: Model, key: str, count: int = 3) -> dict[str, np.ndarray]:
    made = synthetic_samples(input_types(model.signatures[key]), count=count, unknown_dim=4)
    return next(made.batches(count))


Fed = dict[str, np.ndarray]


def sums(model: Model, key: str, weights: tuple[Weight, ...], fed: Fed, moves: list[float]) -> list[tuple[Any, Any]]:
    """For each move of the first weight's first element, the sum of all float outputs and all gradients of it."""
    names = [f"weight_{number}" for number in range(len(weights))]
    outside = {name: weight.tensor for name, weight in zip(names, weights, strict=True)}
    net = Network(model.with_graph(opened(model.graph, outside)), "net")
    signature = model.signatures[key]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        held = [tf.compat.v1.placeholder(tf.float32, weight.tensor.array.shape) for weight in weights]
        inputs = {name: tf.compat.v1.placeholder(array.dtype, array.shape) for name, array in fed.items()}
        given = {signature.inputs[name].node: tensor for name, tensor in inputs.items()}
        values = [model.graph.outputs[entry.position] for entry in signature.outputs.values()]
        made = net.tensors({**given, **dict(zip(names, held, strict=True))}, values)
        total = tf.add_n([tf.reduce_sum(tf.cast(one, tf.float32)) for one in made if one.dtype.is_floating])
        slopes = [slope for slope in tf.gradients(total, held) if slope is not None]
        net.start(session)
        feeds = {inputs[name]: array for name, array in fed.items()}
        feeds |= {slot: weight.tensor.array for slot, weight in zip(held, weights, strict=True)}
        found = []
        for move in moves:
            first = np.array(weights[0].tensor.array)
            first.flat[0] += move
            found.append(session.run([total, slopes], {**feeds, held[0]: first}))
        return found


@pytest.mark.parametrize(
    ("builder", "exact"),
    [
        (models.cnn_with_batch_norm, False),
        (models.branches, False),
        (models.nested_loops, False),
        (models.recurrent, False),
        (models.lstm, True),
        (models.transformer, True),
    ],
)
def test_gradients_through_the_graph_are_what_differences_are(
    built: Built, builder: Callable[[Path], Path], exact: bool
) -> None:
    model = read_saved_model(built(builder))
    if exact:
        model = run_pipeline(model, load_recipe("exact")).model
    key = "serving_default"
    found = trainable(model.graph).weights
    # First one that sits deep: in a loop's body where there is one.
    weights = tuple(sorted(found, key=lambda weight: (-weight.name.count("/body"), weight.name)))
    fed = arrays_of(model, key)
    fed |= {name: np.array(2, np.int32) for name in ("n", "index") if name in fed and fed[name].ndim == 0}
    with ModelRunner(model) as runner:
        outputs = runner.run(key, fed)
    plain = sum(float(array.sum()) for array in outputs.values() if array.dtype.kind == "f")
    step = 1e-2
    (total, slopes), (above, _), (below, _) = sums(model, key, weights, fed, [0.0, step, -step])
    assert total == pytest.approx(plain, rel=1e-4, abs=1e-4)
    assert len(slopes) >= min(2, len(weights))
    assert slopes[0].flat[0] == pytest.approx((above - below) / (2 * step), rel=0.05, abs=5e-3)
