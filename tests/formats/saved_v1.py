"""Save the graphs of TensorFlow 1, and hold what becomes of them against what its session computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfopt.compression import compress
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.ir.verify import verify_model
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime

v1 = tf.compat.v1
Tensors = Mapping[str, tf.Tensor]
X = np.array([[1.0, -2.0, 3.0]], np.float32)


def saved(
    directory: Path,
    *signatures: tuple[str, Tensors, Tensors],
    main_op: tf.Operation | None = None,
    legacy_init_op: tf.Operation | None = None,
) -> Path:
    """Save the default graph, its variables initialised."""
    infos = {
        key: v1.saved_model.build_signature_def(
            {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in inputs.items()},
            {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in outputs.items()},
            "tensorflow/serving/predict",
        )
        for key, inputs, outputs in signatures
    }
    with v1.Session() as session:
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(directory))
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(
            session, ["serve"], infos, assets_collection=assets, main_op=main_op, legacy_init_op=legacy_init_op
        )
        builder.save()
    return directory


def assert_carried(path: Path, *feeds: Mapping[str, np.ndarray]) -> Model:
    """What is read computes what the session computes that TensorFlow Serving would run, and so does what is written
    after the exact recipe."""
    for feed in feeds:
        model = assert_carried_each(path, {"serving_default": feed})
    return model


def assert_carried_each(path: Path, feeds: Mapping[str, Mapping[str, np.ndarray]]) -> Model:
    """As `assert_carried`, with a feed of its own for each signature."""
    model = read_saved_model(path)
    verify_model(model)
    compressed = path.with_name("compressed")
    if not compressed.exists():
        compress(path, compressed)
    with TensorFlowRuntime(path) as original, TensorFlowRuntime(compressed) as written, ModelRunner(model) as runner:
        for key, feed in feeds.items():
            expected = original.run(key, feed)
            for got in (runner.run(key, feed), written.run(key, feed)):
                assert sorted(got) == sorted(expected)
                for name, array in expected.items():
                    np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6)
    return model
