"""Random samples, for a model that brings none."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data.kinds import IMAGE, kind
from tfopt.data import synthetic_samples
from tfopt.ir.types import DType


def test_synthetic_samples_are_seeded_and_say_what_they_are() -> None:
    inputs = {"x": IMAGE, "t": kind(DType.STRING, None, None)}
    one, same, other = (synthetic_samples(inputs, 8, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.arrays["x"], same.arrays["x"])
    assert (one.arrays["t"] == same.arrays["t"]).all()
    assert (one.arrays["x"] != other.arrays["x"]).any()
    assert one.source == "synthetic"
    assert "no real data" in one.description
    assert one.arrays["t"].shape == (8, 1)
    assert synthetic_samples(inputs, 8, unknown_dim=5).arrays["t"].shape == (8, 5)


@pytest.mark.parametrize("dtype", [d for d in DType if d not in (DType.RESOURCE, DType.VARIANT)])
def test_synthetic_samples_of_every_type(dtype: DType) -> None:
    array = synthetic_samples({"x": kind(dtype, None, 50)}, 4).arrays["x"]
    assert array.shape == (4, 50)
    assert len({str(value) for value in array.flat}) > 1
    if dtype.value.startswith(("int", "uint")) and dtype.itemsize > 1:
        assert array.min() >= 0
        assert array.max() <= 1


def test_a_signature_without_inputs_has_one_call() -> None:
    samples = synthetic_samples({})
    assert samples.count == 1
    assert list(samples.batches(32)) == [{}]
