"""An LSTM that reads Fashion-MNIST's images row by row, trained once into .cache/models/.

    python -m benchmarks.fashion_lstm

It takes `image` float32 [n, 28, 28, 1] in 0..1, as the CNNs do, and gives `probabilities` [n, 10].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.cached import built
from benchmarks.train_fashion_cnn import as_input, correct, export_inference, train

UNITS: Final = 128
EPOCHS: Final = 10
SEED: Final = 7


def lstm() -> Path:
    """28 steps of 28 pixels through one LSTM of 128 units, and a classifier; 82 k parameters, in a loop."""
    return built("fashion_lstm", _trained)


def build() -> Any:
    import keras

    image = keras.Input((28, 28, 1), name="image")
    rows = keras.layers.Reshape((28, 28), name="rows")(image)
    x = keras.layers.LSTM(UNITS, name="lstm")(rows)
    probabilities = keras.layers.Dense(10, activation="softmax", name="classifier")(x)
    return keras.Model({"image": image}, {"probabilities": probabilities}, name="fashion_lstm")


def _trained(folder: Path) -> None:
    images, labels = as_input("train")
    export_inference(train(images, labels, epochs=EPOCHS, seed=SEED, build=build), folder, build=build)


def main() -> None:
    images, labels = as_input("test")
    print(f"lstm: {correct(lstm(), images, labels)} of {len(labels)} test images right")


if __name__ == "__main__":
    main()
