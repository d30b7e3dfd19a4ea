"""Neurons removed from both hidden layers of LeNet-300-100 without training: what is left of its right answers.

    python -m benchmarks.lenet_merging

Three seeds, each trained on Fashion-MNIST by Adam without a regulariser and judged on the 10,000 test images. Beside
plain removal by norm stand merging by the weights alone (`merge_neurons: {by: weights}`), and merging and re-fitting on
5,000 training images without their labels. The marks are drops in points: those that Neuron Merging lost from 89.80 %
(arXiv:2010.13160, the README of its code), and our own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.cached import built
from benchmarks.report import print_table
from benchmarks.train_fashion_cnn import as_input, export_inference
from tfopt.data.samples import Samples
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import DEFAULT_SIGNATURE, Model
from tfopt.learn.moments import SampleMoments
from tfopt.learn.side_by_side import SampleRefits
from tfopt.passes.merge_neurons import merge_neurons
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.refits import Refits
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.prune_channels import prune_channels
from tfopt.passes.refit_neurons import refit_neurons
from tfopt.passes.repair import repair
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import ModelRunner

SEEDS: Final = (1, 2, 3)
EPOCHS: Final = 12
BATCH: Final = 128
RATE: Final = 1e-3
#: The share of neurons that go, with the most points that merging by weights alone and merging with repair may lose.
MARKS: Final = {0.5: (1.11, 0.5), 0.6: (2.88, 0.8), 0.7: (7.05, 1.6)}
UNLABELLED: Final = 5000
HEADINGS: Final = (
    "neurons gone",
    "seed",
    "right before",
    "by norm",
    "merged by weights",
    "merged, re-fitted",
    "seconds",
)


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


def main() -> None:
    rows = [_row(seed, share) for share in MARKS for seed in SEEDS]
    notes = [_worst(rows, share) for share in MARKS]
    print_table("Neurons removed from LeNet-300-100 without training, points lost", HEADINGS, rows, notes=notes)


def _row(seed: int, share: float) -> list[str]:
    model = run_pipeline(read_saved_model(lenet(seed)), load_recipe("exact")).model
    before = _right(model)
    started = time.monotonic()
    lost = [before - _right(made(model, share)) for made in (_by_norm, _by_weights, _refitted)]
    took = f"{time.monotonic() - started:.0f}"
    return [f"{share:.0%}", str(seed), f"{before:.2f} %", *(f"{points:.2f}" for points in lost), took]


def _worst(rows: Sequence[Sequence[str]], share: float) -> str:
    mine = [row for row in rows if row[0] == f"{share:.0%}"]
    weights, refitted = (max(float(row[at]) for row in mine) for at in (4, 5))
    most = MARKS[share]
    told = f"at most {weights:.2f} (mark {most[0]}) by weights alone, {refitted:.2f} (mark {most[1]}) re-fitted"
    return f"{share:.0%} of the neurons gone: {told}"


def _by_norm(model: Model, share: float) -> Model:
    return prune_channels.run_model(model, {"ratio": share, "score": "norm", "multiple": 1}, {}).model


def _by_weights(model: Model, share: float) -> Model:
    made = merge_neurons.run_model(model, {"ratio": share, "by": "weights"}, {}).model
    return refit_neurons.run_model(made, {"by": "weights"}, {Reference: Reference(model)}).model


def _refitted(model: Model, share: float) -> Model:
    images, _ = as_input("train")
    chosen = np.random.default_rng(0).permutation(len(images))[:UNLABELLED]
    samples = {DEFAULT_SIGNATURE: Samples({"image": images[chosen]}, "file", "training images")}
    given: dict[type, Any] = {SecondMoments: SampleMoments(samples), Refits: SampleRefits(samples)}
    given[Reference] = Reference(model)
    made = merge_neurons.run_model(model, {"ratio": share}, given).model
    made = repair.run_model(made, {}, given).model
    return refit_neurons.run_model(made, {}, given).model


def _right(model: Model) -> float:
    """Of the test images, in percent."""
    images, labels = as_input("test")
    with closing(ModelRunner(model)) as runner:
        parts = np.split(images, range(1000, len(images), 1000))
        made = [runner.run(DEFAULT_SIGNATURE, {"image": part})["probabilities"].argmax(-1) for part in parts]
    return 100 * float((np.concatenate(made) == labels).mean())


if __name__ == "__main__":
    main()
