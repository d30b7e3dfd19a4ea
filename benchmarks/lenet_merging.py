"""Neurons removed from both hidden layers of LeNet-300-100 without training: what is left of its right answers.

    python -m benchmarks.lenet_merging

Three seeds, each trained on Fashion-MNIST by Adam without a regulariser and judged on the 10,000 test images. Beside
plain removal by norm stand merging by the weights alone (`merge_neurons: {by: weights}`), and merging and re-fitting on
5,000 training images without their labels. The marks are drops in points: those that Neuron Merging lost from 89.80 %
(arXiv:2010.13160, the README of its code), and our own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.cached import built
from benchmarks.train_fashion_cnn import as_input, export_inference

SEEDS: Final = (1, 2, 3)
EPOCHS: Final = 12
BATCH: Final = 128
RATE: Final = 1e-3


def lenet(seed: int) -> Path:
    """784-300-100-10 with Relu: image float32 [n, 28, 28, 1] in 0..1 to probabilities [n, 10]; 0.27 M parameters."""
    return built(f"lenet_300_100_{seed}", lambda folder: _trained(seed, folder))


def build() -> Any:
    import keras

    image = keras.Input((28, 28, 1), name="image")
    x = keras.layers.Flatten(name="flatten")(image)
    x = keras.layers.Dense(300, activation="relu", name="hidden1")(x)
    x = keras.layers.Dense(100, activation="relu", name="hidden2")(x)
    probabilities = keras.layers.Dense(10, activation="softmax", name="classifier")(x)
    return keras.Model({"image": image}, {"probabilities": probabilities}, name="lenet_300_100")


def _trained(seed: int, folder: Path) -> None:
    """Adam, its rate falling to zero along a cosine."""
    import keras

    images, labels = as_input("train")
    keras.utils.set_random_seed(seed)
    model = build()
    rate = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * -(-len(images) // BATCH))
    model.compile(keras.optimizers.Adam(rate), loss={"probabilities": "sparse_categorical_crossentropy"})
    model.fit({"image": images}, {"probabilities": labels}, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    export_inference(model, folder, build=build)
