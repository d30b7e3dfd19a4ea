"""Run a model in memory in a plain TensorFlow session, for comparison."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfopt.formats.graph_def import to_graph_def
from tfopt.ir import Model, Value


def run(model: Model, signature: str, **inputs: object) -> dict[str, np.ndarray]:
    """Outputs by name. The initialiser runs first, with the assets in files of their own."""
    called = model.signatures[signature]
    fetches = {name: _name(model.graph.outputs[out.position]) for name, out in called.outputs.items()}
    feeds = {f"{called.inputs[name].node}:0": value for name, value in inputs.items()}
    with tf.Graph().as_default() as graph, tempfile.TemporaryDirectory() as directory:
        tf.graph_util.import_graph_def(to_graph_def(model.graph), name="")
        with tf.compat.v1.Session(graph=graph) as session:
            if model.init is not None:
                session.run(model.init, _written(model, Path(directory)))
            return session.run(fetches, feeds)


def _written(model: Model, directory: Path) -> Mapping[str, str]:
    paths = {}
    for asset in model.assets:
        path = directory / asset.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(asset.content)
        paths[f"{asset.node}:0"] = str(path)
    return paths


def _name(value: Value) -> str:
    return f"{value.node}:{value.port}"


def assert_same(model: Model, path: Path, signature: str = "serving_default", **inputs: object) -> None:
    """The signature gives what TensorFlow's own loader gives for the SavedModel at `path`, with the promised types."""
    original = tf.saved_model.load(str(path)).signatures[signature]
    expected = original(**{name: tf.constant(value) for name, value in inputs.items()})
    got = run(model, signature, **inputs)
    assert sorted(got) == sorted(expected)
    for name, array in got.items():
        if expected[name].dtype.is_floating:
            np.testing.assert_allclose(array, expected[name].numpy(), rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(array, expected[name].numpy())
        promised = model.signatures[signature].outputs[name].type
        assert promised.shape.admits(np.shape(array))
        assert promised.dtype == expected[name].dtype.name
