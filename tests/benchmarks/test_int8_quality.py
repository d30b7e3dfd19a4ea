"""How int8 artifacts are judged beside others, and what they are judged on."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import int8_quality
from benchmarks.inc import named_as
from benchmarks.int8_quality import CASES, attempt, beside_stock
from benchmarks.photographs import CALIBRATED, JUDGED, crops
from benchmarks.texts import sentences
from tfopt.errors import ConversionError


def test_a_few_more_lost_than_won_are_chance() -> None:
    def outcomes(won: int, lost: int) -> np.ndarray:
        return np.concatenate([np.full(won, 2.0), np.full(lost, 0.0), np.ones(100)])

    best = np.ones(110)
    assert beside_stock(outcomes(5, 5), best) == "no worse: 5 better, 5 worse"
    assert beside_stock(outcomes(4, 6), best) == "chance, p = 0.38: 4 better, 6 worse"
    assert beside_stock(outcomes(1, 9), best) == "worse, p = 0.011: 1 better, 9 worse"
    assert beside_stock(outcomes(0, 10), None) == "alone"


def test_what_cannot_be_made_says_why() -> None:
    def refuse() -> None:
        raise ConversionError("no such op\nand more", where="m")

    made = attempt("someone", refuse, rival=True)  # type: ignore[arg-type]  # it never returns
    assert made.path is None
    assert "no such op" in made.why
    assert "and more" not in made.why


def test_fashion_mnist_may_lose_a_fifth_of_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many images as there are; which they are is no matter, and they need not be installed."""
    labels = np.random.default_rng(0).integers(0, 10, 10_000)
    monkeypatch.setattr(int8_quality, "as_input", lambda split: (np.zeros((10_000, 28, 28, 1), np.float32), labels))
    assert CASES["fashion_plain"].judged()["image"].shape == (10_000, 28, 28, 1)
    right = np.eye(10, dtype=np.float32)[labels]

    def with_wrong(count: int) -> dict[str, np.ndarray]:
        return {"probabilities": np.concatenate([np.roll(right[:count], 1, axis=1), right[count:]])}

    judge = CASES["fashion_plain"].quality
    assert judge({"probabilities": right}, with_wrong(20)).met
    assert not judge({"probabilities": right}, with_wrong(21)).met
    assert judge({"probabilities": right}, with_wrong(21)).text.startswith("99.79 % right, -0.21 points")


def test_every_sentence_has_to_be_near() -> None:
    one = np.eye(4, dtype=np.float32)
    near = one + 0.1 * np.roll(one, 1, axis=1)
    far = near.copy()
    far[0, 1] = 0.2
    judge = CASES["minilm"].quality
    assert judge({"sentence_embedding": one}, {"sentence_embedding": near}).met
    found = judge({"sentence_embedding": one}, {"sentence_embedding": far})
    assert not found.met
    assert found.text.endswith("3 of 4 reach 0.99")


def test_outputs_that_lost_their_names_get_them_back() -> None:
    lost = {"Identity": np.zeros(1), "Identity_1": np.ones(1)}
    assert named_as(lost, {"words": 0, "mean": 0})["words"] == 1
    assert named_as({"words": np.ones(1)}, {"words": 0})["words"] == 1


def test_crops_lie_in_the_photograph_and_differ() -> None:
    pytest.importorskip("tensorflow")
    photo = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
    made = list(crops(photo, side=30))
    assert len({crop.tobytes() for crop in made}) == len(made) == 11
    # Three quarters of 40 are 30: nothing is scaled there.
    assert (made[3] == photo[:30, :30]).all()
    assert (made[4] == photo[:30, :30][:, ::-1]).all()
    assert (made[9] == photo[10:, 30:]).all()


def test_no_photograph_is_calibrated_on_and_judged() -> None:
    judged = {(wheel, name) for wheel, names in JUDGED.items() for name in names}
    assert not judged & {(wheel, name) for wheel, names in CALIBRATED.items() for name in names}


def test_sentences_end_before_a_capital() -> None:
    text = "It was Mr. Smith who came all alone. No! And then, at\nno. 5, he sat down! Why? Nobody there knew what for."
    assert sentences(text) == [
        "Smith who came all alone.",
        "And then, at no. 5, he sat down!",
        "Nobody there knew what for.",
    ]
