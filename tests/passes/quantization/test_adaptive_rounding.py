"""Weights rounded by least squares: never worse than the nearest numbers, on the same grid, within a budget."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfopt
from tfopt.data import Samples, load_samples, split
from tfopt.data.samples import batching
from tfopt.errors import UsageError
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.fused import fused_layers
from tfopt.ir.graph import Model
from tfopt.learn.moments import SampleMoments
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.base import ModelOutcome
from tfopt.passes.needs.statistics import SecondMoments, Statistics
from tfopt.passes.quantization.adaptive import work
from tfopt.passes.quantization.least_squares import errors, rounded_levels
from tfopt.passes.registry import steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant

DEMO = Path(tfopt.__file__).parent / "demo"
KEY = "serving_default"


def rows(seed: int, elements: int, count: int = 400) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows whose elements go together, as those of images do."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 3)) @ rng.normal(size=(3, elements)) + 0.2 * rng.normal(size=(count, elements))


@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 5), st.sampled_from((3, 63, 127)))
def test_no_channel_is_worse_than_with_the_nearest_numbers(seed: int, elements: int, channels: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    ratios = rng.normal(size=(elements, channels)) * top / 2
    data = rows(seed, elements) * rng.choice([0.0, 1.0, 1e4], elements)
    second = data.T @ data / len(data)
    levels = rounded_levels(ratios, second, top)
    assert np.array_equal(levels, np.rint(levels)) and np.abs(levels).max() <= top
    nearest = np.clip(np.rint(ratios), -top, top)
    assert np.all(errors(ratios - levels, second) <= errors(ratios - nearest, second))


def test_it_comes_near_the_best_there_is() -> None:
    rng = np.random.default_rng(0)
    gains = []
    for seed in range(20):
        ratios = rng.uniform(-5, 5, (6, 1))
        data = rows(seed, 6)
        second = data.T @ data / len(data)
        around = np.array(list(product((-1, 0, 1), repeat=6))).T + np.rint(ratios)
        best = errors(ratios - around, second).min()
        found = errors(ratios - rounded_levels(ratios, second, 127), second)[0]
        nearest = errors(ratios - np.rint(ratios), second)[0]
        assert best * (1 - 1e-9) <= found <= nearest
        gains.append((nearest - found) / (nearest - best))
    assert np.mean(gains) > 0.6


def test_elements_that_have_nothing_to_do_with_each_other_are_rounded_to_the_nearest() -> None:
    ratios = np.random.default_rng(0).normal(size=(8, 4)) * 20
    assert np.array_equal(rounded_levels(ratios, np.diag(np.arange(8.0)), 127), np.rint(ratios))


@pytest.fixture(scope="module")
def network() -> Model:
    return run_pipeline(read_saved_model(DEMO / "fashion_cnn"), load_recipe("exact")).model


@pytest.fixture(scope="module")
def sides(network: Model) -> tuple[Samples, Samples]:
    inputs = {name: entry.type for name, entry in network.signatures[KEY].inputs.items()}
    chosen = split(load_samples(DEMO / "fashion_mnist.npz", inputs, signature=KEY))
    return chosen.calibration, chosen.held_out


def quantized(network: Model, calibration: Samples, **options: Any) -> ModelOutcome:
    samples = {KEY: calibration}
    given: dict[type, Any] = {Statistics: SampleStatistics(samples), SecondMoments: SampleMoments(samples)}
    return steps()["quantize"].run_model(network, options, given)


def noise(network: Model, made: Model, held_out: Samples) -> float:
    def outputs(model: Model) -> np.ndarray[Any, Any]:
        with ModelRunner(model) as runner:
            return held_out.map(lambda batch: runner.run(KEY, batch), 50)["probabilities"]

    return float(np.square(outputs(network) - outputs(with_fake_quant(made))).mean())


@pytest.mark.parametrize("correct_bias", [True, False])
def test_the_bundled_network_gains_with_7_bits(
    network: Model, sides: tuple[Samples, Samples], correct_bias: bool
) -> None:
    calibration, held_out = sides
    options = {"reduce_range": True, "correct_bias": correct_bias}
    nearest = quantized(network, calibration, **options).model
    outcome = quantized(network, calibration, rounding="adaptive", **options)
    again = quantized(network, calibration, rounding="adaptive", **options)
    assert noise(network, outcome.model, held_out) < 0.8 * noise(network, nearest, held_out)
    weights = {value: grid for value, grid in nearest.graph.grids.items() if grid.axes}
    for value, grid in weights.items():
        array = outcome.model.graph[value.node].tensor.array
        assert outcome.model.graph.grids[value] == grid and np.abs(grid.levels(array)).max() <= 63
        assert np.array_equal(array, grid.snapped(array))
        assert np.array_equal(array, again.model.graph[value.node].tensor.array)
    assert sum("weight by least squares, which leaves" in finding.message for finding in outcome.findings) == 7


def test_the_budget_is_kept_and_told(network: Model, sides: tuple[Samples, Samples]) -> None:
    costs = sorted(work(fused.layer) / 1e9 for fused in fused_layers(network.graph))
    outcome = quantized(network, sides[0], rounding="adaptive", rounding_budget=sum(costs[:3]))
    left = [one for one in outcome.findings if one.message.endswith("since the rounding budget is used up")]
    assert 4 <= len(left) < 7
    unchanged = quantized(network, sides[0], rounding="adaptive", rounding_budget=0.0).model
    nearest = quantized(network, sides[0]).model
    for value, grid in nearest.graph.grids.items():
        if grid.axes:
            array = nearest.graph[value.node].tensor.array
            assert np.array_equal(array, unchanged.graph[value.node].tensor.array)


def test_without_samples_it_says_so(network: Model, sides: tuple[Samples, Samples]) -> None:
    given: dict[type, Any] = {Statistics: SampleStatistics({KEY: sides[0]})}
    with pytest.raises(UsageError, match="needs calibration samples"):
        steps()["quantize"].run_model(network, {"rounding": "adaptive"}, given)


def test_samples_that_reach_no_layer_leave_it_as_it_is(network: Model) -> None:
    inputs = {name: entry.type for name, entry in network.signatures[KEY].inputs.items()}
    nothing = Samples({"image": np.zeros((2, 28, 28, 1), np.float32)}, "file", "black", batching(inputs))
    layers = [fused.layer for fused in fused_layers(network.graph)]
    (first, *_) = SampleMoments({KEY: nothing}).moments(network, layers)
    assert not first[1].second.any()
    assert list(SampleMoments({}).moments(network, layers)) == []
