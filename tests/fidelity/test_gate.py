"""What the gate lets through, and what it says of what it does not."""

from __future__ import annotations

import json
from math import nan

import numpy as np
import pytest

from tests.fidelity.arrays import f32
from tfopt.errors import FidelityError, UsageError
from tfopt.fidelity import Gate, judge


def scores(count: int, wrong: int = 0) -> dict[str, np.ndarray]:
    """Scores of two classes; `wrong` of the examples have them exchanged."""
    rows = np.tile(f32([2, 1]), (count, 1))
    rows[:wrong] = rows[:wrong, ::-1]
    return {"y": rows}


def test_a_lossy_classifier_may_lose_one_point_by_default() -> None:
    assert judge(scores(200), scores(200, 2), exact=False).passed
    lost = judge(scores(200), scores(200, 3), exact=False)
    assert not lost.passed
    with pytest.raises(FidelityError) as caught:
        lost.require("model.tflite")
    message = str(caught.value)
    for part in (
        "model.tflite",
        "98.50%",
        "200 samples",
        "1.50 points lost, 1 allowed, 0.50 too many",
        "95% confidence",
    ):
        assert part in message


def test_exactly_the_limit_passes() -> None:
    assert judge(scores(1000), scores(1000, 3), Gate.of(max_drop=0.3), exact=False).passed
    assert not judge(scores(1000), scores(1000, 4), Gate.of(max_drop="0.3%"), exact=False).passed


def test_with_labels_accuracy_counts_and_not_agreement() -> None:
    # The original is wrong on the first ten, the candidate right: agreement falls, accuracy rises.
    better = judge(scores(100, 10), scores(100), Gate.of(max_drop=0), exact=False, labels=np.zeros(100, np.int64))
    assert better.passed
    assert "accuracy 90.00% → 100.00% on 100 samples: 10.00 points won" in better.summary
    assert not judge(scores(100, 10), scores(100), Gate.of(max_drop=0), exact=False).passed
    worse = judge(scores(100), scores(100, 2), exact=False, labels=np.zeros(100, np.int64))
    assert not worse.passed
    assert "2.00 points lost" in worse.reasons[0]


def test_other_models_keep_their_direction() -> None:
    before = {"y": np.ones((50, 3, 2), np.float32)}
    near, far = before["y"].copy(), before["y"].copy()
    near[:, 0, 0] = 1.1
    far[:, 0, 0] = 3.0
    assert judge(before, {"y": near}, exact=False).passed
    refused = judge(before, {"y": far}, exact=False)
    assert not refused.passed
    for part in (
        "cosine similarity of output 'y' is 0.8729",
        "50 samples",
        "0.99 wanted, 0.12 too low",
        "94.2% of inputs",
    ):
        assert part in refused.reasons[0]
    assert judge(before, {"y": far}, Gate.of(min_cosine=0.8), exact=False).passed


def test_a_reserve_takes_a_quarter_of_what_may_be_lost() -> None:
    vectors = {"y": np.ones((4, 3, 2), np.float32)}
    assert Gate().with_reserve(scores(4)) == Gate(max_drop=0.75)
    assert Gate().with_reserve(vectors) == Gate(min_cosine=pytest.approx(0.9925))
    assert Gate.of(max_drop=4).with_reserve(scores(4)) == Gate(max_drop=3.0)
    both = Gate.of(max_drop=4, min_cosine=0.6)
    assert both.with_reserve(scores(4)) == Gate(max_drop=3.0, min_cosine=pytest.approx(0.7))
    assert Gate.of(max_drop=0).with_reserve(scores(4)) == Gate(max_drop=0.0)


def test_a_limit_that_was_given_replaces_the_default() -> None:
    assert judge(scores(10), scores(10, 1), Gate.of(min_cosine=0.5), exact=False).passed


def test_a_drop_cannot_be_asked_of_what_is_no_classifier() -> None:
    with pytest.raises(UsageError, match=r"no classifier.*--min-cosine"):
        judge({"y": f32([1])}, {"y": f32([1])}, Gate.of(max_drop=1), exact=False)


def test_an_exact_result_differs_by_rounding_only() -> None:
    rounding, real = scores(10), scores(10)
    rounding["y"] = rounding["y"] * np.float32(1 + 2e-6)
    real["y"] = real["y"] * np.float32(1 + 2e-4)
    assert judge(scores(10), rounding, exact=True).passed
    refused = judge(scores(10), real, exact=True)
    assert not refused.passed
    assert "0.0002 of its largest value on 10 samples, 0.0001 allowed, this is 2 times that" in refused.reasons[0]
    assert judge(scores(10), real, exact=False).passed


def test_the_summary_of_an_exact_classifier_tells_how_it_does() -> None:
    mixed = scores(10, 4)
    assert judge(mixed, mixed, exact=True).summary.endswith("agreement with the original 100.00%")
    with_labels = judge(scores(10), scores(10), exact=True, labels=np.ones(10, np.int64))
    assert with_labels.summary.endswith("accuracy 0.00% → 0.00%")


def test_agreement_on_a_single_class_says_little_and_is_called_so() -> None:
    assert "all of one class" in judge(scores(10), scores(10), exact=False).summary
    assert "all of one class" not in judge(scores(10, 1), scores(10, 1), exact=False).summary


def test_half_precision_outputs_are_rounded_themselves() -> None:
    values = f32([1.0, 2.0]).astype(np.float16)
    nearby = np.nextafter(values, np.float16(9))
    assert judge({"y": values}, {"y": nearby}, exact=True).passed


def test_exact_integers_and_words_stay() -> None:
    ids = np.arange(2000)
    flipped = ids.copy()
    flipped[0] = 7
    assert judge({"id": ids}, {"id": flipped}, exact=True).passed
    assert not judge({"id": ids[:200]}, {"id": flipped[:200]}, exact=True).passed


def test_new_nans_are_refused_whatever_the_limits() -> None:
    broken = scores(100)
    broken["y"][3, 1] = nan
    refused = judge(scores(100), broken, Gate.of(max_drop=100, min_cosine=0), exact=False)
    assert not refused.passed
    assert "1 value is NaN or infinite of output 'y'" in refused.reasons[0]


def test_a_refusal_knows_the_flag_that_would_allow_it() -> None:
    lost = judge(scores(300), scores(300, 4), exact=False)  # 1.333... points, rounded up
    assert lost.widened == "--max-drop 1.34"
    assert judge(scores(300), scores(300, 4), Gate.of(max_drop=1.34), exact=False).passed
    rows = {"y": np.ones((50, 3, 2), np.float32)}
    turned = {"y": rows["y"].copy()}
    turned["y"][:, 0, 0] = 3.0
    far = judge(rows, turned, exact=False)
    assert far.widened == "--min-cosine 0.8728"
    assert judge(rows, turned, Gate.of(min_cosine=0.8728), exact=False).passed
    both = judge(scores(100), scores(100, 10), Gate.of(max_drop=1, min_cosine=0.999), exact=False)
    assert both.widened == "--max-drop 10 --min-cosine 0.98"
    words = {"w": np.array([b"a", b"b"], object)}
    assert judge(words, {"w": np.array([b"a", b"x"], object)}, exact=False).widened == "--min-cosine 0.5"


def test_no_flag_allows_what_is_broken_or_was_to_be_exact() -> None:
    assert judge(scores(10), scores(10), exact=False).widened is None
    assert judge(scores(10), {"y": scores(10)["y"] * np.float32(1.01)}, exact=True).widened is None
    assert judge(scores(10), {"y": -scores(10)["y"]}, Gate.of(min_cosine=0.5), exact=False).widened is None
    broken = scores(10)
    broken["y"][3, 1] = nan
    assert judge(scores(10), broken, exact=False).widened is None


def test_a_judgement_as_json() -> None:
    judged = judge(scores(20), scores(20), exact=True)
    data = json.loads(json.dumps(judged.to_dict(), allow_nan=False))
    assert data["passed"] is True
    assert data["samples"] == 20
    assert data["snr_db"] is None
    assert data["checks"][0]["metric"] == "max_rel"
    assert data["outputs"]["y"]["agreement"] == 1.0


@pytest.mark.parametrize("text", ["half", "", "-1", "101", "nan", "0.5 points"])
def test_drops_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="largest drop"):
        Gate.of(max_drop=text)


def test_drops_as_people_write_them() -> None:
    assert (
        Gate.of(max_drop="0.5").max_drop == Gate.of(max_drop=" 0.5% ").max_drop == Gate.of(max_drop=0.5).max_drop == 0.5
    )
    with pytest.raises(UsageError, match="between 0 and 1"):
        Gate.of(min_cosine=1.5)
