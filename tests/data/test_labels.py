"""Labels: class numbers, one for each sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.kinds import saved
from tfopt.data import load_labels
from tfopt.errors import InvalidSamples


def test_labels_of_any_integer_type(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.array([[3], [1]], np.uint8))
    labels = load_labels(tmp_path / "labels.npy", 2)
    assert (labels.tolist(), labels.dtype) == ([3, 1], np.int64)
    np.savez(tmp_path / "labels.npz", truth=np.array([0, 1]))
    assert load_labels(tmp_path / "labels.npz", 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([1, 2, 3]), "3 labels for 2 samples"),
        (np.array([0.0, 1.0]), "class numbers"),
        (np.eye(2, dtype=int), "argmax"),
        (np.array([0, -1]), r"-1 at \[1\] is negative"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(InvalidSamples, match=words):
        load_labels(tmp_path / "labels.npy", 2)


def test_labels_are_one_array(tmp_path: Path) -> None:
    with pytest.raises(InvalidSamples, match="has 2"):
        load_labels(saved(tmp_path, a=np.arange(2), b=np.arange(2)), 2)
