"""An honest split: no example on both sides, and a record of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.kinds import kind
from tfopt.data import Samples, batching, split
from tfopt.errors import InvalidSamples
from tfopt.ir.types import DType


def rows(samples: Samples) -> set[bytes]:
    return {row.tobytes() for row in samples.arrays["x"]}


def numbers(*values: float) -> Samples:
    return Samples({"x": np.array(values, np.float32)[:, None]}, "file", "numbers")


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.integers(0, 5), st.floats(0.05, 0.95))
def test_no_example_is_on_both_sides(values: list[int], seed: int, share: float) -> None:
    samples = numbers(*values)
    if len(set(values)) < 2:
        with pytest.raises(InvalidSamples, match="two different"):
            split(samples, seed=seed, held_out=share)
        return
    sides = split(samples, seed=seed, held_out=share)
    assert not rows(sides.calibration) & rows(sides.held_out)
    assert sides.calibration.count
    assert sides.held_out.count
    together = np.concatenate([sides.calibration_indices, sides.held_out_indices])
    assert sorted(together.tolist()) == list(range(len(values)))
    np.testing.assert_array_equal(sides.held_out.arrays["x"], samples.arrays["x"][sides.held_out_indices])
    again = split(samples, seed=seed, held_out=share)
    assert again.record == sides.record


def test_the_share_is_kept_and_the_seed_decides() -> None:
    samples = numbers(*range(100))
    assert [split(samples, held_out=share).held_out.count for share in (0.5, 0.2, 0.001)] == [50, 20, 1]
    assert split(samples, seed=0).held_out_indices.tolist() != split(samples, seed=1).held_out_indices.tolist()
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(samples, held_out=1.0)


def test_the_side_of_an_example_does_not_depend_on_its_place() -> None:
    forward, backward = numbers(*range(40)), numbers(*reversed(range(40)))
    assert rows(split(forward).held_out) == rows(split(backward).held_out)


def test_the_record_is_enough_to_tell_whether_it_was_the_same_split() -> None:
    record = split(numbers(1, 2, 3, 4, 4), seed=3).record
    assert {k: record[k] for k in ("seed", "held_out_share", "source", "count", "distinct", "dropped")} == {
        "seed": 3, "held_out_share": 0.5, "source": "file", "count": 5, "distinct": 4, "dropped": 0,
    }  # fmt: skip
    assert record["calibration"] + record["held_out"] == 5
    assert split(numbers(1, 2, 3, 4, 5), seed=3).record["data"] != record["data"]


def test_too_few_to_split() -> None:
    with pytest.raises(InvalidSamples, match="at least two samples"):
        split(numbers(1))
    with pytest.raises(InvalidSamples, match="all 3 samples are equal"):
        split(numbers(1, 1, 1))
    fixed = load_samples_of_four(6)
    with pytest.raises(InvalidSamples, match="at least 8 samples"):
        split(fixed)


def load_samples_of_four(count: int) -> Samples:
    return Samples({"x": np.arange(float(count))}, "file", "", batching({"x": kind(DType.FLOAT64, 4)}))


def test_blocks_of_a_fixed_batch_stay_together() -> None:
    sides = split(load_samples_of_four(22))
    assert sides.record["dropped"] == 2
    for side in (sides.calibration, sides.held_out):
        assert all(batch["x"][0] % 4 == 0 and np.ptp(batch["x"]) == 3 for batch in side.batches(4))


def test_strings_are_told_apart_by_content() -> None:
    def words(*items: bytes) -> Samples:
        return Samples({"t": np.array(items, object)}, "file", "")

    sides = split(words(b"a", b"b", b"a", b"b"))
    assert {*sides.calibration.arrays["t"]} & {*sides.held_out.arrays["t"]} == set()
