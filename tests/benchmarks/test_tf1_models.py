"""The benchmarks' TensorFlow 1 models: what the exact recipe makes of them answers as they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tfopt
from benchmarks import tf1_models
from tfopt.formats.saved_model import read_saved_model
from tfopt.runtimes.tensorflow import TensorFlowRuntime

RNG = np.random.default_rng(3)
IMAGES = {"image": RNG.normal(size=(8, 32, 32, 3)).astype(np.float32)}
TEXTS = {
    "words": RNG.choice([*tf1_models.WORDS[:40], "unheard"], (8, 6)).astype(object),
    "lengths": np.array([6, 1, 3, 0, 6, 2, 5, 4], np.int32),
}


@pytest.mark.parametrize(
    ("build", "inputs", "gone"),
    [(tf1_models.cnn, IMAGES, {"FusedBatchNorm", "ConcatV2"}), (tf1_models.rnn, TEXTS, {"Save"})],
    ids=["cnn", "rnn"],
)
def test_the_compressed_model_answers_alike(tmp_path: Path, build: object, inputs: dict, gone: set[str]) -> None:
    original = tmp_path / "model"
    build(original)
    samples = tmp_path / "samples.npz"
    np.savez(samples, **{name: value.astype("S") if value.dtype == object else value for name, value in inputs.items()})
    compressed = tfopt.compress(original, tmp_path / "exact", data=samples).path
    with TensorFlowRuntime(original) as before, TensorFlowRuntime(compressed) as after:
        expected, got = before.run("serving_default", inputs), after.run("serving_default", inputs)
    assert sorted(expected) == sorted(got)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5 * np.abs(array).max())
    model = read_saved_model(compressed)
    assert gone.isdisjoint(model.graph.by_op)
    assert bool(model.assets) == ("words" in inputs)
