"""Models that are joined answer as they did apart, in one session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests import models
from tests.conftest import Builder
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.ir.joined import joined
from tfopt.ir.verify import verify_model
from tfopt.runtimes.tensorflow import ModelRunner

X = np.linspace(-1, 1, 12, dtype=np.float32)
#: What each model is asked by which signature.
ASKED = {
    "table": ("serving_default", {"words": np.array([b"quick", b"dog", b"fox"], object)}),
    "loops": ("serving_default", {"x": X.reshape(4, 3), "n": np.int32(2)}),
    "two": ("score", {"x": X[:10].reshape(2, 5)}),
}


def answered(model: Model, prefix: str = "", names: tuple[str, ...] = tuple(ASKED)) -> list[dict[str, np.ndarray]]:
    with ModelRunner(model) as runner:
        return [runner.run(prefix.format(name) + ASKED[name][0], dict(ASKED[name][1])) for name in names]


def test_joined_models_answer_as_they_did_apart(built: Callable[[Builder], Path]) -> None:
    """Tables of one name, an asset, loops and functions, and several signatures among them."""
    parts = {
        "table": read_saved_model(built(models.table)),
        "loops": read_saved_model(built(models.nested_loops)),
        "two": read_saved_model(built(models.two_signatures)),
    }
    both = joined(parts)
    verify_model(both)
    assert set(both.signatures) == {f"{name}/{key}" for name, model in parts.items() for key in model.signatures}
    found = answered(both, "{}/")
    for name, answer in zip(ASKED, found, strict=True):
        (apart,) = answered(parts[name], names=(name,))
        assert answer.keys() == apart.keys()
        for key, array in apart.items():
            np.testing.assert_array_equal(answer[key], array)


def test_a_model_stands_beside_itself(built: Callable[[Builder], Path]) -> None:
    model = read_saved_model(built(models.table))
    twice = joined({"one": model, "other": model})
    verify_model(twice)
    key, inputs = ASKED["table"]
    with ModelRunner(twice) as runner:
        one, other = (runner.run(f"{name}/{key}", inputs) for name in ("one", "other"))
    assert list(one["ids"]) == list(other["ids"]) == [1, -1, 3]
