"""A small image classifier as Keras 3 saves it, and samples of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

CLASSES = 3


@pytest.fixture(scope="session")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolutions with batch norm and a sum, `image` float32 [n, 8, 8, 1] to `probabilities` [n, 3]."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    y = layers.BatchNormalization(momentum=0.8)(layers.Conv2D(8, 3, padding="same", use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(8, activation="relu")(x)
    probabilities = layers.Dense(CLASSES, activation="softmax")(x)
    path = tmp_path_factory.mktemp("keras") / "small.keras"
    keras.Model({"image": image}, {"probabilities": probabilities}).save(path)
    return path


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images of three brightnesses, and which of them each has."""
    directory = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 400)
    images = rng.uniform(0, 0.2, (400, 8, 8, 1)) + 0.4 * labels[:, None, None, None]
    np.savez(directory / "train.npz", image=images.astype(np.float32))
    np.save(directory / "labels.npy", labels)
    return directory / "train.npz", directory / "labels.npy"
