"""The process that loads a SavedModel and says what that took, in both of TensorFlow's ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.load_memory import _cells, _loaded, _steps
from tests import models

Built = Callable[[Callable[[Path], Path]], Path]
FEEDS = {"serving_default": {"x": ("float32", [2, 5]), "scale": ("float32", [])}, "score": {"x": ("float32", [2, 5])}}


@pytest.mark.parametrize("loader", ["v1", "v2"])
def test_every_signature_is_called(built: Built, loader: str) -> None:
    figures = _loaded(loader, built(models.two_signatures), FEEDS)
    assert len(figures["steps"]) == 1 + len(FEEDS)
    assert figures["steady"] == figures["steps"][-1] <= figures["peak"]
    assert 0 < figures["load_seconds"] < figures["ready_seconds"]


def test_ratios_are_those_of_the_medians() -> None:
    runs = [
        [
            {"steady": 1e6 * before, "peak": 2e6, "load_seconds": 1.0, "steps": [1e6, 1e6 * before]},
            {"steady": 2e6 * before, "peak": 2e6, "load_seconds": 1.1, "steps": [1e6, 2e6 * before]},
        ]
        for before in (1, 50, 3)
    ]
    assert _cells(runs) == ["3 → 6", "2.00x", "2 → 2", "1.00x", "1.00 → 1.10", "1.10x", "no"]
    assert _steps(runs) == "1 / 3 → 1 / 6"
