"""How far two outputs are apart: numbers worked by hand, and what holds of any."""

from __future__ import annotations

import json
from math import inf, log, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.fidelity.arrays import f32
from tfopt.errors import FidelityError
from tfopt.fidelity import compare, metrics


def test_numbers_worked_by_hand() -> None:
    before = f32([3.0, 4.0], [0.0, 2.0])
    after = f32([3.0, 4.0], [2.0, 2.0])
    found = compare({"y": before}, {"y": after})["y"]
    assert found.equal == 0.5
    assert found.max_abs == 2.0
    assert found.max_rel == 0.5  # over the largest magnitude, 4
    assert found.cosine_min == pytest.approx(1 / np.sqrt(2))
    assert found.cosine == pytest.approx((1 + 1 / np.sqrt(2)) / 2)
    assert found.snr_db == pytest.approx(10 * np.log10(29 / 4))
    assert found.agreement == 0.5  # a tie goes to the first class
    assert found.not_finite == 0


def test_agreement_counts_equal_argmax() -> None:
    before = f32([1, 2, 3], [3, 2, 1], [0, 5, 0], [9, 0, 0])
    after = f32([1, 2, 3], [3, 2, 1], [0, 5, 0], [0, 9, 0])
    assert compare({"y": before}, {"y": after})["y"].agreement == 0.75


def test_divergence_of_probabilities() -> None:
    before, after = f32([0.5, 0.5]), f32([0.25, 0.75])
    expected = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)
    assert compare({"p": before}, {"p": after})["p"].kl == pytest.approx(expected, abs=1e-5)


def test_divergence_of_logits_is_that_of_their_softmax() -> None:
    before, after = f32([0.5, 0.5], [0.9, 0.1]), f32([0.25, 0.75], [0.5, 0.5])
    of_probabilities = compare({"p": before}, {"p": after})["p"].kl
    of_logits = compare({"p": np.log(before) + 7}, {"p": np.log(after) - 3})["p"].kl
    assert of_logits == pytest.approx(of_probabilities, abs=1e-5)


def test_a_probability_rounded_to_zero_is_no_infinite_divergence() -> None:
    found = compare({"p": f32([0.999, 0.001])}, {"p": f32([1.0, 0.0])})["p"]
    assert found.kl is not None
    assert 0 < found.kl < 0.01


def test_equal_outputs_are_perfect() -> None:
    values = f32([1, 2], [3, 4])
    found = compare({"y": values}, {"y": values.copy()})["y"]
    assert (found.equal, found.max_abs, found.max_rel, found.cosine, found.snr_db, found.kl) == (1, 0, 0, 1, inf, 0)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["snr_db"] is None


def test_one_number_per_example_is_compared_over_the_examples() -> None:
    before, after = f32([1.0], [2.0], [3.0]), f32([3.0], [2.0], [1.0])
    found = compare({"y": before}, {"y": after})["y"]
    assert found.cosine == pytest.approx(10 / 14)
    assert found.cosine_min is None
    assert found.agreement is None


def test_zero_rows() -> None:
    found = compare({"y": f32([0, 0], [0, 0])}, {"y": f32([0, 0], [1, 0])})["y"]
    assert (found.cosine, found.cosine_min, found.max_rel, found.snr_db) == (0.5, 0.0, inf, -inf)


def test_values_of_any_size_have_a_cosine() -> None:
    found = compare({"y": f32([1e30, 0], [1e-30, 0])}, {"y": f32([1e30, 0], [1e-30, 0])})["y"]
    assert found.cosine_min == 1.0


def test_strings_bools_and_integers() -> None:
    words = np.array([b"a", b"b", b"c", b"d"], object)
    other = np.array([b"a", b"b", b"c", b"x"], object)
    found = compare({"w": words, "f": words == b"a"}, {"w": other, "f": words == b"b"})
    assert (found["w"].equal, found["w"].cosine) == (0.75, None)
    assert (found["f"].equal, found["f"].max_abs) == (0.5, None)
    counts = compare({"n": np.array([[10], [20]])}, {"n": np.array([[10], [15]])})["n"]
    assert (counts.equal, counts.max_abs, counts.max_rel) == (0.5, 5, 0.25)


def test_complex_outputs_are_pairs() -> None:
    found = compare({"z": np.array([[3 + 4j]])}, {"z": np.array([[3 + 2j]])})["z"]
    assert (found.max_abs, found.max_rel) == (2, 0.5)


def test_a_nan_of_the_original_may_stay_and_no_other_may_come() -> None:
    before = f32([nan, 1], [2, 3])
    kept = compare({"y": before}, {"y": before.copy()})["y"]
    assert (kept.equal, kept.not_finite, kept.max_abs) == (1.0, 0, 0)
    broken = compare({"y": before}, {"y": f32([nan, 1], [inf, nan])})["y"]
    assert broken.not_finite == 2


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ({}, "'y' is missing"),
        ({"y": f32([1, 2]), "z": f32([1])}, "'z' is new"),
        ({"y": f32([1, 2, 3])}, r"float32\[1, 3\], was float32\[1, 2\]"),
        ({"y": f32([1, 2]).astype(np.float16)}, "float16"),
    ],
)
def test_outputs_that_cannot_be_compared(candidate: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(FidelityError, match=words):
        compare({"y": f32([1, 2])}, candidate)


matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-100, 100, width=32)
)


@given(matrices, matrices)
def test_figures_stay_in_their_ranges(before: np.ndarray, after: np.ndarray) -> None:
    after = np.resize(after, before.shape)
    found = compare({"y": before}, {"y": after})["y"]
    assert found.cosine is not None
    assert found.cosine_min is not None
    assert found.kl is not None
    assert found.agreement is not None
    assert -1 <= found.cosine_min <= found.cosine + 1e-12 <= 1 + 1e-12
    assert 0 <= found.kl < inf
    assert 0 <= found.agreement <= 1
    assert (found.max_abs == 0) == (found.equal == 1.0) == (found.snr_db == inf)


@given(matrices, st.floats(0.01, 100))
def test_scaling_all_keeps_relative_figures(before: np.ndarray, scale: float) -> None:
    after = before + np.float32(0.5)
    plain = compare({"y": before.astype(np.float64)}, {"y": after.astype(np.float64)})["y"]
    scaled = compare({"y": before.astype(np.float64) * scale}, {"y": after.astype(np.float64) * scale})["y"]
    assert scaled.max_rel == pytest.approx(plain.max_rel)
    assert scaled.cosine == pytest.approx(plain.cosine)
    assert scaled.snr_db == pytest.approx(plain.snr_db)


@pytest.mark.parametrize("shape", [(37,), (37, 5), (37, 4, 3), (37, 1)])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "int32"])
def test_part_by_part_is_the_same_as_all_at_once(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: str
) -> None:
    random = np.random.default_rng(0)
    before = (random.standard_normal(shape) * 9).astype(dtype)
    after = before + (random.random(shape) < 0.4).astype(dtype)
    whole = metrics.compare({"y": before}, {"y": after})["y"].to_dict()
    monkeypatch.setattr(metrics, "_PART", 8)
    parts = metrics.compare({"y": before}, {"y": after})["y"].to_dict()
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        assert parts[name] == (None if value is None else pytest.approx(value, rel=1e-12)), name
