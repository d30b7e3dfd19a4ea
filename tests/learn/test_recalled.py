"""Without data: what batch normalisations remember, how inputs are drawn, and what that is worth on real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfopt
from tests import models
from tests.passes.decided import IMAGE, model_of
from tfopt.compression import compress
from tfopt.data import Samples, batching, load_samples, synthetic_samples
from tfopt.evidence import gather_evidence, input_types
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.fused import fused_layers
from tfopt.ir.graph import Model
from tfopt.learn.observe import SampleStatistics
from tfopt.learn.recalled import RecalledStatistics
from tfopt.passes.needs.statistics import Statistics
from tfopt.passes.quantization.batch_norms import remembered
from tfopt.passes.quantization.input_likeness import Likeness, input_likeness
from tfopt.passes.registry import steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant

Built = Callable[[Callable[[Path], Path]], Path]
DEMO = Path(tfopt.__file__).parent / "demo"
KEY = "serving_default"


@pytest.fixture(scope="module")
def original() -> Model:
    return read_saved_model(DEMO / "fashion_cnn")


@pytest.fixture(scope="module")
def network(original: Model) -> Model:
    return run_pipeline(original, load_recipe("exact")).model


@pytest.fixture(scope="module")
def images(network: Model) -> Samples:
    return load_samples(DEMO / "fashion_mnist.npz", input_types(network.signatures[KEY]), signature=KEY).take(
        range(100)
    )


def alike(original: Model, count: int = 32) -> Samples:
    inputs = input_types(original.signatures[KEY])
    drawn = input_likeness(original.graph)["image"].drawn((count, 28, 28, 1), np.random.default_rng(0))
    return Samples({"image": drawn}, "synthetic", "drawn", batching(inputs))


def test_what_folding_makes_is_known_until_a_layer_is_changed(built: Built) -> None:
    """Keras' batch normalisation, with a scale and without one, behind layers with a bias and without one."""
    read = read_saved_model(built(models.cnn_with_batch_norm))
    known = remembered(read.graph)
    exact = run_pipeline(read, load_recipe("exact")).model
    layers = {fused.layer.node.name: fused for fused in fused_layers(exact.graph)}
    found = [name for name in known if name in layers]
    held = [name for name in found if known[name].still_holds(layers[name])]
    assert (len(found), held) == (2, found)  # the third layer becomes one with the fourth
    fused = layers[found[0]]
    assert fused.bias is not None
    for changed in (replace(fused, bias=fused.bias * 1.01), replace(fused, bias=None)):
        assert not known[found[0]].still_holds(changed)


def test_a_fused_batch_normalisation_is_read_too() -> None:
    vectors = {"gamma": 2.0, "beta": -1.0, "mean": 3.0, "variance": 4.0}
    lines = IMAGE + "".join(
        f"  %{name} = Const() {{dtype: float32, value: float32[4] splat({value})}} -> float32[4]\n"
        for name, value in vectors.items()
    )
    lines += (
        "  %w = Const() {dtype: float32, value: float32[1,1,4,4] random(1)} -> float32[1,1,4,4]\n"
        "  %c = Conv2D(%x, %w) {T: float32, padding: 'SAME', strides: (1, 1, 1, 1)} -> float32[?,8,8,4]\n"
        "  %y = FusedBatchNormV3(%c, %gamma, %beta, %mean, %variance)"
        " {T: float32, U: float32, epsilon: 0.001, is_training: TRAINING}"
        " -> float32[?,8,8,4], float32[4], float32[4], float32[4], float32[4], float32[?]\n"
    )
    (one,) = remembered(model_of(lines.replace("TRAINING", "false"), "%y").graph).values()
    for found, expected in (
        (one.data_mean, 3.0),
        (one.data_deviation, 2.0),
        (one.mean, -1.0),
        (one.deviation, 2 * 2 / np.sqrt(4.001)),
        (one.bias, -1 - 3 * 2 / np.sqrt(4.001)),
    ):
        np.testing.assert_allclose(found, np.full(4, expected))
    assert remembered(model_of(lines.replace("TRAINING", "true"), "%y").graph) == {}


def test_layers_are_evened_out_to_what_is_remembered(original: Model, network: Model) -> None:
    known = remembered(original.graph)
    statistics = SampleStatistics({KEY: alike(original)})
    layers = [one for one in fused_layers(network.graph) if one.layer.node.name in known]
    held = [one for one in layers if known[one.layer.node.name].still_holds(one)]
    # Into the three others an identity was merged, so that they make a sum of two things.
    assert (len(held), len(layers)) == (3, 6)
    asked = [one.summed for one in held]
    plain, found = statistics.observe(network, asked), RecalledStatistics(statistics, original).observe(network, asked)
    for one in held[1:]:
        expected = known[one.layer.node.name]
        alive = expected.deviation > 1e-3
        off = np.abs(found[one.summed].channel_mean - expected.mean)[alive].max()
        assert off < 0.05 < np.abs(plain[one.summed].channel_mean - expected.mean)[alive].max()


def test_inputs_are_drawn_like_those_of_the_training(original: Model, images: Samples) -> None:
    drawn, real = alike(original, 200).arrays["image"][:], images.arrays["image"][:]
    assert drawn.shape == (200, 28, 28, 1) and drawn.dtype == np.float32
    assert drawn.mean() == pytest.approx(real.mean(), abs=0.05)
    assert drawn.std() == pytest.approx(real.std(), abs=0.08)


def test_a_picture_of_parts_keeps_its_means_and_variances() -> None:
    one = Likeness(np.array([1.0, -2.0]), shared=4.0, by_channel=1.0, by_element=0.5)
    drawn = one.drawn((50, 33, 20, 2), np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean((0, 1, 2)), one.mean, atol=0.15)
    assert 4.0 < drawn[..., 0].var() <= 5.5
    assert np.abs(drawn - one.mean).max() <= 2 * np.sqrt(5.5) + 1e-5
    together = np.cov(drawn[..., 0].ravel(), drawn[..., 1].ravel())[0, 1]
    assert together == pytest.approx(4.0, rel=0.25)


def test_int8_is_nearer_to_float_on_real_images(original: Model, network: Model, images: Samples) -> None:
    noise = SampleStatistics({KEY: synthetic_samples(input_types(network.signatures[KEY]), 32)})
    recalled = RecalledStatistics(SampleStatistics({KEY: alike(original)}), original)

    def outputs(model: Model) -> np.ndarray[Any, Any]:
        with ModelRunner(model) as runner:
            return images.map(lambda batch: runner.run(KEY, batch), 50)["probabilities"]

    def error(statistics: Statistics) -> float:
        made = steps()["quantize"].run_model(network, {}, {Statistics: statistics}).model
        return float(np.square(outputs(with_fake_quant(made)) - outputs(network)).mean())

    assert error(recalled) < error(noise) / 10


def test_compress_draws_alike_and_warns(tmp_path: Path, original: Model) -> None:
    evidence = gather_evidence(DEMO / "fashion_cnn", original)
    assert evidence.is_synthetic
    assert "like what a batch normalisation remembers of its inputs" in evidence.notes[0]
    assert evidence.calibration[KEY].arrays["image"][:].mean() == pytest.approx(0.28, abs=0.06)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\nsteps:\n  - include: exact\n  - quantize\n")
    result = compress(DEMO / "fashion_cnn", tmp_path / "out", recipe=str(recipe))
    assert any(note.startswith("int8 without samples is a risk") for note in result.notes)
    again = compress(DEMO / "fashion_cnn", tmp_path / "exact")
    assert not any("is a risk" in note for note in again.notes)
