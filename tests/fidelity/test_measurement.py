"""What a classifier is, and what is measured of one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fidelity.arrays import SCORES, f32
from tfopt.errors import InvalidSamples, UsageError
from tfopt.fidelity import classifier_output, measure

CLASSIFY = "tensorflow/serving/classify"


@pytest.mark.parametrize(
    ("outputs", "method", "name"),
    [
        ({"p": SCORES}, "", "p"),
        ({"p": SCORES, "classes": np.array([1, 0])}, "", "p"),
        ({"p": SCORES, "names": np.array([b"a", b"b"], object)}, "", "p"),
        ({"p": SCORES, "embedding": SCORES}, "", None),
        ({"scores": SCORES, "other": SCORES}, CLASSIFY, "scores"),
        ({"y": f32([1], [2])}, "", None),
        ({"y": np.zeros((2, 3, 3), np.float32)}, "", None),
        ({"id": np.array([3, 4])}, "", "id"),
        ({"id": np.array([[3], [4]])}, "", "id"),
        ({"ids": np.array([[3, 1], [4, 1]])}, "", None),
        ({"id": np.array([3, 4]), "n": np.array([3, 4])}, "", None),
        ({"word": np.array([b"a"], object)}, "", None),
    ],
)
def test_what_a_classifier_is(outputs: dict[str, np.ndarray], method: str, name: str | None) -> None:
    assert classifier_output(outputs, method) == name


def test_agreement_is_of_the_classifier_s_rows_whatever_else_there_is() -> None:
    """An output of one number a call has fewer rows than there are examples."""
    outputs = {"a_count": np.array([32, 18]), "scores": np.eye(4, dtype=np.float32)[np.arange(50) % 4]}
    found = measure(outputs, outputs, samples=50)
    assert (found.samples, found.agreement) == (50, 1.0)
    assert found.agreement_bound == pytest.approx(0.05 ** (1 / 50))
    assert measure(outputs, outputs).samples == 50


def test_accuracy_with_labels() -> None:
    before = f32([9, 0], [9, 0], [0, 9], [0, 9])
    after = f32([9, 0], [0, 9], [0, 9], [9, 0])
    found = measure({"y": before}, {"y": after}, labels=np.array([0, 0, 1, 0]))
    assert (found.samples, found.classifier, found.agreement) == (4, "y", 0.5)
    assert (found.accuracy_before, found.accuracy_after) == (0.75, 0.75)
    assert found.drop_bound is not None
    assert found.drop_bound > 0


def test_labels_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="no classifier"):
        measure({"y": f32([1])}, {"y": f32([1])}, labels=np.array([0]))
    with pytest.raises(InvalidSamples, match="label 2, but the model has 2 classes"):
        measure({"y": SCORES}, {"y": SCORES}, labels=np.array([0, 2]))
    with pytest.raises(InvalidSamples, match="1 label for 2 samples"):
        measure({"y": SCORES}, {"y": SCORES}, labels=np.array([0]))
