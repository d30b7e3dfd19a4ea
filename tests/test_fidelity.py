"""Metrics worked by hand, bounds against published numbers, the contract, and what the gate lets through."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, log, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfopt.errors import FidelityError, InvalidSamples, UsageError
from tfopt.fidelity import Gate, check_contract, classifier_output, compare, judge, measure
from tfopt.fidelity.bounds import drop_at_most, share_at_least
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.runtimes.base import SignatureInfo, TensorInfo

CLASSIFY = "tensorflow/serving/classify"


def f32(*rows: object) -> np.ndarray:
    return np.array(rows, np.float32)


# --- metrics ----------------------------------------------------------------------------------------------------------


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


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "count", "share"),
    # 9 of 10 and 0 of n from the tables of Clopper and Pearson; n of n is 0.05 ** (1 / n).
    [(9, 10, 0.6058), (10, 10, 0.7411), (0, 10, 0.0), (200, 200, 0.98513), (1, 1, 0.05), (5, 10, 0.2224)],
)
def test_the_least_likely_share(hits: int, count: int, share: float) -> None:
    assert share_at_least(hits, count) == pytest.approx(share, abs=1e-4)


@given(st.integers(1, 300), st.data())
def test_the_least_likely_share_is_below_the_measured_one_and_grows(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    bound = share_at_least(hits, count)
    assert 0 <= bound <= hits / count
    assert bound >= share_at_least(max(0, hits - 1), count)


def test_the_largest_likely_drop() -> None:
    right = np.ones(98, bool)
    # Nobody changed: both adjusted shares are 1/100, so the bound is 1.645 * sqrt(0.02 / 100).
    assert drop_at_most(right, right) == pytest.approx(1.6449 * np.sqrt(0.0002), abs=1e-5)
    worse = right.copy()
    worse[:9] = False
    drop = 0.10 - 0.01
    expected = drop + 1.6449 * np.sqrt((0.11 - drop**2) / 100)
    assert drop_at_most(right, worse) == pytest.approx(expected, abs=1e-4)


# --- what a classifier is ---------------------------------------------------------------------------------------------

SCORES = f32([0.1, 0.9], [0.8, 0.2])


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
    with pytest.raises(InvalidSamples, match="1 labels for 2 samples"):
        measure({"y": SCORES}, {"y": SCORES}, labels=np.array([0]))


# --- the gate ---------------------------------------------------------------------------------------------------------


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
    for part in ("model.tflite", "98.50%", "200 samples", "1.50 points lost, 1 allowed", "95% confidence"):
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
    for part in ("cosine similarity of output 'y' is 0.8729", "50 samples", "0.99 wanted", "94.2% of inputs"):
        assert part in refused.reasons[0]
    assert judge(before, {"y": far}, Gate.of(min_cosine=0.8), exact=False).passed


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
    assert "0.0002 of its largest value on 10 samples, 0.0001 allowed" in refused.reasons[0]
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
    assert "1 value(s) of output 'y' are NaN or infinite" in refused.reasons[0]


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


# --- the contract -----------------------------------------------------------------------------------------------------


def info(dtype: DType = DType.FLOAT32, *dims: int | None) -> TensorInfo:
    return TensorInfo("x:0", TensorType(dtype, Shape.of(*dims)))


BASE = SignatureInfo({"x": info(DType.FLOAT32, None, 4)}, {"y": info(DType.FLOAT32, None, 2)})


def difference(after: dict[str, SignatureInfo], kind: str = "saved_model") -> str:
    with pytest.raises(FidelityError) as caught:
        check_contract({"serve": BASE}, after, kind=kind, where="out")  # type: ignore[arg-type]  # a test's own words
    return str(caught.value)


def test_the_same_interface_passes_and_tensor_names_may_change() -> None:
    renamed = replace(BASE, inputs={"x": TensorInfo("other:0", BASE.inputs["x"].type)})
    check_contract({"serve": BASE}, {"serve": renamed})
    check_contract({"serve": BASE}, {"serve": renamed}, kind="tflite")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({}, "signature 'serve' is missing"),
        ({"serve": BASE, "more": BASE}, "signature 'more' is new"),
        ({"serve": replace(BASE, inputs={})}, "serve: input 'x' is missing"),
        ({"serve": replace(BASE, outputs={**BASE.outputs, "z": info()})}, "serve: output 'z' is new"),
        (
            {"serve": replace(BASE, inputs={"x": info(DType.INT8, None, 4)})},
            "input 'x' is int8[?,4], was float32[?,4]",
        ),
        ({"serve": replace(BASE, outputs={"y": info(DType.FLOAT32, 1, 2)})}, "output 'y' is float32[1,2]"),
        ({"serve": replace(BASE, method_name=CLASSIFY)}, "method 'tensorflow/serving/classify'"),
        ({"serve": replace(BASE, defaults={"x": Tensor(f32(1))})}, "serve: default of 'x' is new"),
    ],
)
def test_every_difference_of_a_saved_model_is_named(after: dict[str, SignatureInfo], words: str) -> None:
    message = difference(after)
    assert message.startswith("out: ")
    assert words in message


def test_a_changed_default_is_named() -> None:
    one, two = (replace(BASE, defaults={"x": Tensor(f32(value))}) for value in (1, 2))
    check_contract({"serve": one}, {"serve": replace(one)})
    with pytest.raises(FidelityError, match="default of 'x' changed"):
        check_contract({"serve": one}, {"serve": two})


def test_many_differences_are_counted() -> None:
    after = {"serve": replace(BASE, outputs={f"z{i}": info() for i in range(8)})}
    assert "and 4 more" in difference(after)


def test_a_tflite_may_know_less_of_methods_and_more_of_outputs() -> None:
    light = replace(BASE, method_name="", outputs={"y": info(DType.FLOAT32, 1, 2)})
    check_contract({"serve": BASE, "other": BASE}, {"serve": light}, kind="tflite")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({}, "it has no signature"),
        ({"other": BASE}, "signature 'other' is new"),
        (
            {"serve": replace(BASE, inputs={"x": info(DType.FLOAT32, 1, 4)})},
            "input 'x' is float32[1,4], was float32[?,4]",
        ),
        ({"serve": replace(BASE, outputs={"y": info(DType.INT8, None, 2)})}, "output 'y' is int8[?,2]"),
        ({"serve": replace(BASE, outputs={"y": info(DType.FLOAT32, None, 3)})}, "output 'y' is float32[?,3]"),
    ],
)
def test_what_a_tflite_must_keep(after: dict[str, SignatureInfo], words: str) -> None:
    assert words in difference(after, "tflite")


def test_a_fixed_input_may_become_free() -> None:
    fixed = replace(BASE, inputs={"x": info(DType.FLOAT32, 1, 4)})
    check_contract({"serve": fixed}, {"serve": BASE}, kind="tflite")


@pytest.mark.parametrize("shape", [(37,), (37, 5), (37, 4, 3), (37, 1)])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "int32"])
def test_part_by_part_is_the_same_as_all_at_once(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: str
) -> None:
    from tfopt.fidelity import metrics

    random = np.random.default_rng(0)
    before = (random.standard_normal(shape) * 9).astype(dtype)
    after = before + (random.random(shape) < 0.4).astype(dtype)
    whole = metrics.compare({"y": before}, {"y": after})["y"].to_dict()
    monkeypatch.setattr(metrics, "_PART", 8)
    parts = metrics.compare({"y": before}, {"y": after})["y"].to_dict()
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        assert parts[name] == (None if value is None else pytest.approx(value, rel=1e-12)), name
