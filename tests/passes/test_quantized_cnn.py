"""The decision about the bundled network, run with all its values rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tfopt
from tfopt.data import Split, load_samples, split
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import Model
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.needs.statistics import Statistics
from tfopt.passes.registry import steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant

DEMO = Path(tfopt.__file__).parent / "demo"
SIGNATURE = "serving_default"


@pytest.fixture(scope="module")
def network() -> Model:
    return run_pipeline(read_saved_model(DEMO / "fashion_cnn"), load_recipe("exact")).model


@pytest.fixture(scope="module")
def samples(network: Model) -> Split:
    inputs = {name: entry.type for name, entry in network.signatures[SIGNATURE].inputs.items()}
    return split(load_samples(DEMO / "fashion_mnist.npz", inputs, signature=SIGNATURE))


def quantized(network: Model, samples: Split, **options: Any) -> Model:
    given = {Statistics: SampleStatistics({SIGNATURE: samples.calibration})}
    return steps()["quantize"].run_model(network, options, given).model


def probabilities(model: Model, samples: Split) -> NDArray[np.float32]:
    with ModelRunner(model) as runner:
        return samples.held_out.map(lambda batch: runner.run(SIGNATURE, batch), 50)["probabilities"]


@pytest.mark.parametrize("ranges", ["auto", "min_max", "percentile", "mse"])
def test_held_out_images_are_named_as_before(network: Model, samples: Split, ranges: str) -> None:
    before = probabilities(network, samples)
    after = probabilities(with_fake_quant(quantized(network, samples, ranges=ranges)), samples)
    assert len(before) == 200 and (before != after).any()
    assert np.mean(before.argmax(-1) == after.argmax(-1)) >= 0.98
    assert np.abs(before - after).mean() < 0.004


def test_weights_of_7_bits_and_corrected_biases(network: Model, samples: Split) -> None:
    before = probabilities(network, samples)
    errors = {}
    for correct in (True, False):
        made = quantized(network, samples, reduce_range=True, correct_bias=correct)
        after = probabilities(with_fake_quant(made), samples)
        assert np.mean(before.argmax(-1) == after.argmax(-1)) >= 0.98
        errors[correct] = np.square(before - after).mean()
    assert errors[True] < errors[False]


def test_every_layer_is_quantized_and_integers_reach_from_the_image_to_the_classifier(
    network: Model, samples: Split
) -> None:
    made = quantized(network, samples).graph
    layers = [node for node in made if node.op in ("Conv2D", "MatMul")]
    assert len(layers) == 7
    assert all(value in made.grids for node in layers for value in node.inputs)
    activations = [grid for value, grid in made.grids.items() if made.constant(value) is None]
    # Images and what Relu makes are not negative; nothing else is held between layers but sums.
    assert sum(grid.narrow for grid in activations) == 0
