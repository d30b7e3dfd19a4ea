"""A graph whose weights come from outside computes the same, and its gradients are what differences are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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


def sums(model: Model, key: str, weights: tuple[Weight, ...], fed: dict[str, np.ndarray], moved: float = 0.0):
    """The sum of all float outputs when the first weight's first element is `moved`, and all gradients of that sum."""
    names = [f"weight_{number}" for number in range(len(weights))]
    net = Network(
        model.with_graph(opened(model.graph, {name: one.tensor for name, one in zip(names, weights, strict=True)})),
        "net",
    )
    signature = model.signatures[key]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        arrays = [weight.tensor.array.astype(np.float32) for weight in weights]
        arrays[0] = arrays[0].copy()
        arrays[0].flat[0] += moved
        held = [tf.compat.v1.placeholder(tf.float32, array.shape) for array in arrays]
        inputs = {name: tf.compat.v1.placeholder(array.dtype, array.shape) for name, array in fed.items()}
        given = {signature.inputs[name].node: tensor for name, tensor in inputs.items()}
        values = [model.graph.outputs[entry.position] for entry in signature.outputs.values()]
        made = net.tensors({**given, **dict(zip(names, held, strict=True))}, values)
        total = tf.add_n([tf.reduce_sum(tf.cast(one, tf.float32)) for one in made if one.dtype.is_floating])
        slopes = tf.gradients(total, held)
        net.start(session)
        feeds = {**dict(zip(held, arrays, strict=True)), **{inputs[name]: array for name, array in fed.items()}}
        return session.run([total, [slope for slope in slopes if slope is not None]], feeds)


@pytest.mark.parametrize("exact", [False, True], ids=["as read", "exact"])
@pytest.mark.parametrize(
    "builder",
    [
        models.classifier,
        models.cnn_with_batch_norm,
        models.lstm,
        models.recurrent,
        models.transformer,
        models.branches,
        models.nested_loops,
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
    total, slopes = sums(model, key, weights, fed)
    assert total == pytest.approx(plain, rel=1e-4, abs=1e-4)
    assert len(slopes) >= min(2, len(weights))
    step = 1e-2
    above, _ = sums(model, key, weights, fed, step)
    below, _ = sums(model, key, weights, fed, -step)
    assert slopes[0].flat[0] == pytest.approx((above - below) / (2 * step), rel=0.05, abs=5e-3)
