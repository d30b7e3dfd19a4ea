"""Training with tensorflow-model-optimization, from a file that Keras saved to int8 artifacts."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tfopt
from tfopt.errors import FidelityError, UnsupportedModel, UsageError
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model
from tfopt.recipe import recipe_from_flags

#: Looked for and not imported: by itself it changes which Keras this process uses.
pytestmark = pytest.mark.skipif(
    find_spec("tensorflow_model_optimization") is None, reason="training Keras models needs the extra tfmot"
)


def kernels(path: Path) -> dict[str, np.ndarray]:
    """The weights of layers in a SavedModel, as they were trained."""
    model: Model = read_saved_model(path)
    constants = [node for node in model.graph.nodes if node.op == "Const"]
    return {node.name: node.tensor.array for node in constants if "kernel" in node.name and node.tensor.array.ndim > 1}


def test_trained_for_int8_and_then_on_integers(keras_file: Path, samples: tuple[Path, Path], tmp_path: Path) -> None:
    data, labels = samples
    trained = tfopt.train(
        keras_file, tmp_path / "qat", data=data, labels=labels, qat=True, epochs=8, batch_size=32, learning_rate=0.01
    )
    assert trained.judgement.fidelity.accuracy_after > 0.85
    result = tfopt.compress(
        trained.path, tmp_path / "int8", recipe=recipe_from_flags(quantize="int8"), data=data, labels=labels
    )
    said = [found.message for row in result.ledger if row.step == "quantize" for found in row.findings]
    assert sum(message.startswith("range of training: [0, ") for message in said) >= 4
    assert sum(message.startswith("int8, data in") for message in said) == 4
    assert {artifact.kind for artifact in result.artifacts} == {"saved_model", "tflite"}


def test_pruned_clustered_and_trained_for_int8_without_labels(
    keras_file: Path, samples: tuple[Path, Path], tmp_path: Path
) -> None:
    trained = tfopt.train(
        keras_file, tmp_path / "out", data=samples[0], prune=0.5, cluster=8, qat=True, epochs=1, max_drop=100
    )
    for name, array in kernels(trained.path).items():
        assert (array == 0).mean() >= 0.45, name
        # One weight of a cluster is, in each channel, the level next to it.
        apart = np.diff(np.unique(array)) > 0.02 * np.abs(array).max()
        assert np.count_nonzero(apart) <= 8, name


def test_n_of_m_of_a_model_in_memory(samples: tuple[Path, Path], tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    layers = tf_keras.layers
    image = tf_keras.Input((8, 8, 1), name="image")
    x = layers.Dense(8, activation="relu", name="wide")(layers.Flatten()(image))
    model = tf_keras.Model(image, layers.Dense(3, activation="softmax", name="few")(x))
    trained = tfopt.train(model, tmp_path / "out", data=samples[0], prune="2:4", epochs=1, max_drop=100)
    (array,) = (array for array in kernels(trained.path).values() if array.shape == (64, 8))
    assert np.count_nonzero(array) <= array.size // 2
    assert list(read_saved_model(trained.path).signatures["serving_default"].inputs) == ["image"]


def test_what_loses_too_much_is_refused_and_not_written(
    keras_file: Path, samples: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(FidelityError, match="cosine similarity"):
        tfopt.train(
            keras_file, tmp_path / "out", data=samples[0], prune=0.99, epochs=1, schedule="constant", min_cosine=1.0
        )
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_no_number_ends_it(keras_file: Path, samples: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the loss is nan .* try a smaller learning rate"):
        tfopt.train(keras_file, tmp_path / "out", data=samples[0], prune=0.5, learning_rate=3e38)


def test_a_layer_that_keras_2_has_not_is_refused_by_name(samples: tuple[Path, Path], tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.RMSNormalization(name="rms")(keras.layers.Flatten()(image))
    with pytest.raises(UnsupportedModel, match="layer rms: cannot be carried over to Keras 2"):
        tfopt.train(keras.Model(image, keras.layers.Dense(3)(x)), tmp_path / "out", data=samples[0], qat=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "there is nothing to train for"),
        ({"prune": 1.5}, "between 0 and 1, not 1.5"),
        ({"cluster": 1}, "at least 2 different weights"),
        ({"qat": True, "epochs": 0}, "epochs: at least 1"),
        ({"qat": True, "learning_rate": 0.0}, "larger than 0"),
        ({"prune": 0.5, "schedule": "linear"}, "no schedule 'linear'"),
    ],
)
def test_options_that_make_no_sense_are_told_at_once(
    keras_file: Path, samples: tuple[Path, Path], tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        tfopt.train(keras_file, tmp_path / "out", data=samples[0], **options)


def test_a_process_keeps_the_keras_that_it_had() -> None:
    code = """
import os
from tfopt.keras.tfmot import tfmot
tfmot("a test")
import tensorflow as tf
print(tf.keras.__version__[0], os.environ.get("TF_USE_LEGACY_KERAS"))
"""
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "None"]
