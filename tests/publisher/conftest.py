"""Models to publish, and places for their versions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.publishing import linear_tflite
from tfopt.store import Manifest, write_manifest

Built = Callable[[Callable[[Path], Path]], Path]


@pytest.fixture(scope="session")
def tflite(built: Built) -> Path:
    return built(linear_tflite) / "linear.tflite"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "models" / "linear"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "samples.npz", x=models.weights(20, 3))
    return tmp_path / "samples.npz"


@pytest.fixture
def both(built: Built, tflite: Path, tmp_path: Path) -> Path:
    """A version as `compress` leaves it: two artifacts and a manifest that lists them."""
    directory = tmp_path / "both"
    shutil.copytree(built(models.linear), directory)
    shutil.copy(tflite, directory / "model.tflite")
    write_manifest(directory, Manifest({"recipe": "name: x", "artifacts": {"saved_model": {}, "tflite": {"bytes": 1}}}))
    return directory


@pytest.fixture
def version(tflite: Path, tmp_path: Path) -> Path:
    """A directory with only a model.tflite."""
    (tmp_path / "version").mkdir()
    shutil.copy(tflite, tmp_path / "version" / "model.tflite")
    return tmp_path / "version"
