"""Train the residual CNN that tfopt bundles, and write it with a few hundred test images to tfopt/demo/.

    python -m benchmarks.train_fashion_cnn [--epochs 13] [--seed 7] [--out tfopt/demo]

Seeded; the last digit of the accuracy still depends on the processor and on the number of threads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Split, fashion_mnist
from benchmarks.models import export

DEMO: Final = Path(__file__).parent.parent / "tfopt" / "demo"
SAMPLES: Final = 400
BATCH: Final = 128
PEAK_RATE: Final = 3e-3
WEIGHT_DECAY: Final = 2e-2

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def build() -> Any:
    """The network: float32 [n, 28, 28, 1] in 0..1 to probabilities [n, 10]; six convolutions, three residual additions.

    Few and wide layers, because a quantized file pays for each layer and not only for each weight.
    """
    import keras

    def conv(x: Any, width: int, name: str, stride: int = 1) -> Any:
        x = keras.layers.Conv2D(width, 3, stride, padding="same", use_bias=False, name=name)(x)
        return keras.layers.BatchNormalization(momentum=0.98, name=f"{name}_bn")(x)

    def residual(x: Any, name: str) -> Any:
        y = keras.layers.Add(name=f"{name}_add")([x, conv(x, x.shape[-1], name)])
        return keras.layers.ReLU(name=f"{name}_relu")(y)

    image = keras.Input((28, 28, 1), name="image")
    x = keras.layers.ReLU(name="stem_relu")(conv(image, 32, "stem"))
    x = keras.layers.ReLU(name="down1_relu")(conv(x, 32, "down1", stride=2))
    x = residual(x, "block1")
    x = keras.layers.ReLU(name="down2_relu")(conv(x, 72, "down2", stride=2))
    x = residual(x, "block2")
    x = residual(x, "block3")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    probabilities = keras.layers.Dense(10, activation="softmax", name="classifier")(x)
    return keras.Model({"image": image}, {"probabilities": probabilities}, name="fashion_cnn")


def augmented(images: Floats, rng: np.random.Generator, reach: int = 1) -> Floats:
    """Each image [n, 28, 28, 1] shifted by up to `reach` pixels both ways, and every second one mirrored."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    down, right = rng.integers(0, 2 * reach + 1, (2, count))
    shifted: Floats = np.moveaxis(windows[np.arange(count), down, right], 1, -1)
    mirrored = rng.random(count) < 0.5
    shifted[mirrored] = shifted[mirrored][:, :, ::-1]
    return shifted


def batches(images: Floats, labels: Labels, rng: np.random.Generator) -> Iterator[tuple[dict[str, Floats], Labels]]:
    """Endless shuffled, augmented batches of the training set."""
    while True:
        for chosen in np.split(rng.permutation(len(images)), range(BATCH, len(images), BATCH)):
            yield {"image": augmented(images[chosen], rng)}, labels[chosen]


def train(images: Floats, labels: Labels, *, epochs: int, seed: int, build: Callable[[], Any] = build) -> Any:
    """A trained copy of `build()`; AdamW with a cosine schedule, on all the training images."""
    import keras

    keras.utils.set_random_seed(seed)
    model = build()
    steps = -(-len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        PEAK_RATE / 20, epochs * steps, alpha=1e-3, warmup_target=PEAK_RATE, warmup_steps=steps // 2
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY),
        loss={"probabilities": "sparse_categorical_crossentropy"},
        metrics={"probabilities": "accuracy"},
        jit_compile=False,
    )
    rng = np.random.default_rng(seed)
    model.fit(batches(images, labels, rng), epochs=epochs, steps_per_epoch=steps, verbose=2)
    return model


def export_inference(trained: Any, folder: Path, build: Callable[[], Any] = build) -> None:
    """Write the weights out of a fresh model: a compiled one would take its optimizer's slots into the checkpoint."""
    model = build()
    model.set_weights(trained.get_weights())
    shutil.rmtree(folder, ignore_errors=True)
    export(model, folder)


def correct(folder: Path, images: Floats, labels: Labels) -> int:
    """How many of the images the written SavedModel classifies right, through its serving signature."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = [
        serve(image=tf.constant(part))["probabilities"].numpy().argmax(-1)
        for part in np.split(images, range(500, len(images), 500))
    ]
    return int((np.concatenate(found) == labels).sum())


def main() -> None:
    options = arguments()
    started = time.monotonic()
    images, labels = as_input("train")
    model = train(images, labels, epochs=options.epochs, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    export_inference(model, options.out / "fashion_cnn")
    images, labels = as_input("test")
    np.savez_compressed(options.out / "fashion_mnist.npz", image=images[:SAMPLES])
    np.save(options.out / "fashion_mnist_labels.npy", labels[:SAMPLES])
    right = correct(options.out / "fashion_cnn", images, labels)
    report = {
        "accuracy": right / len(labels),
        "test_images": len(labels),
        "parameters": model.count_params(),
        "epochs": options.epochs,
        "seed": options.seed,
        "versions": versions(),
    }
    (options.out / "fashion_cnn.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"{right} of {len(labels)} test images right; {time.monotonic() - started:.0f} s")


def as_input(split: Split) -> tuple[Floats, Labels]:
    """One split as the model takes it: float32 [n, 28, 28, 1] in 0..1, and labels int64 [n]."""
    images, labels = fashion_mnist(split)
    return (images[..., None] / np.float32(255)).astype(np.float32), labels


def versions() -> dict[str, str]:
    import keras
    import tensorflow as tf

    return {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=DEMO, help="folder to write into (default: tfopt/demo)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
