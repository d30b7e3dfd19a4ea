"""What adds up over calls is what numpy says of all of them at once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import weights
from tfopt.learn.spread import SAMPLE, Spread
from tfopt.passes.needs.statistics import Observed

NAN, INF = float("nan"), float("inf")


def spread(*calls: np.ndarray, channels: int | None = None) -> Observed:
    """Axis 0 counts examples."""
    made = Spread(channels, sum(map(len, calls)))
    for call in calls:
        made.add(call, len(call))
    return made.observed()


# Channels that are a few, that fill a row of a block and more, that are more than a block; blocks that do not come out.
@pytest.mark.parametrize("shape", [(7, 5, 3), (40, 30, 70, 3), (9, 512), (3, 1000, 513), (2, 70_001), (5, 1)])
def test_ends_and_channels_are_exact(shape: tuple[int, ...]) -> None:
    array = weights(*shape) * 3 + 1
    cut = len(array) // 2
    found = spread(array[:cut], array[cut:], channels=shape[-1])
    rows = array.reshape(-1, shape[-1])
    assert (found.low, found.high, found.not_finite) == (float(array.min()), float(array.max()), 0)
    np.testing.assert_array_equal(found.channel_low, rows.min(0))
    np.testing.assert_array_equal(found.channel_high, rows.max(0))
    np.testing.assert_allclose(found.channel_mean, rows.mean(0, dtype=np.float64), rtol=1e-5, atol=1e-5)


def test_channels_that_are_unknown_are_not_told() -> None:
    found = spread(weights(4, 6), weights(4, 9))
    assert found.channel_low.shape == found.channel_high.shape == found.channel_mean.shape == (0,)
    assert (found.low, found.high) == (weights(4, 9).min(), max(weights(4, 6).max(), weights(4, 9).max()))


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    array = np.array([[1, NAN, INF], [-2, 4, -INF], [INF, 6, NAN]], np.float32)
    found = spread(array, channels=3)
    assert (found.low, found.high, found.not_finite) == (-2.0, 6.0, 5)
    assert found.sample.tolist() == [-2.0, 1.0, 4.0, 6.0]
    assert found.channel_low.tolist() == [-2.0, 4.0, 0.0]
    assert found.channel_high.tolist() == [1.0, 6.0, 0.0]
    assert found.channel_mean.tolist() == [-0.5, 5.0, 0.0]


@pytest.mark.parametrize("array", [np.full((2, 3), NAN, np.float32), np.empty((2, 0), np.float32)])
def test_of_nothing_the_ends_are_zero(array: np.ndarray) -> None:
    found = spread(array, channels=array.shape[1])
    assert (found.low, found.high, found.not_finite, found.sample.size) == (0.0, 0.0, array.size, 0)
    assert found.channel_mean.tolist() == [0.0] * array.shape[1]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int32, np.int64, np.float16, np.float64])
def test_numbers_of_all_kinds(dtype: type) -> None:
    array = (weights(50, 4) * 20).astype(dtype)
    found = spread(array, channels=4)
    assert (found.low, found.high) == (float(array.min()), float(array.max()))
    np.testing.assert_allclose(found.channel_mean, array.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_array_equal(found.sample, np.sort(array.ravel().astype(np.float32)))


def test_sums_and_samples_do_not_overflow() -> None:
    large = np.full((1000, 2), 3e38, np.float32)
    assert spread(large, channels=2).channel_mean.tolist() == pytest.approx([3e38, 3e38], rel=1e-6)
    beyond = spread(np.array([[1e300], [-1e300]]), channels=1)
    assert (beyond.low, beyond.high, beyond.not_finite) == (-1e300, 1e300, 0)
    assert np.isfinite(beyond.sample).all()


def test_one_number_a_call_has_no_channels() -> None:
    made = Spread(None, 3)
    for number in (2.0, -1.0, 5.0):
        made.add(np.array(number, np.float32), 1)
    found = made.observed()
    assert (found.low, found.high, found.sample.tolist()) == (-1.0, 5.0, [-1.0, 2.0, 5.0])


def test_the_sample_is_as_large_as_said_and_like_the_whole() -> None:
    calls = [weights(20, 50, 64, seed=seed) * (1 + seed) for seed in range(10)]
    found, again = spread(*calls, channels=64), spread(*calls, channels=64)
    whole = np.concatenate(calls).ravel()
    assert len(found.sample) == SAMPLE and found.sample.dtype == np.float32
    assert np.all(np.diff(found.sample) >= 0)
    np.testing.assert_array_equal(found.sample, again.sample)
    shares = [0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999]
    expected = np.quantile(whole, shares)
    np.testing.assert_allclose(np.quantile(found.sample, shares), expected, rtol=0.05, atol=0.02 * whole.std())


@pytest.mark.parametrize("channels", [3, 16, 64, 100])
def test_the_sample_keeps_to_no_channel_and_no_example(channels: int) -> None:
    """An example is told by the whole part of what is drawn, a channel by its fraction."""
    array = np.arange(32)[:, None, None] + np.tile((np.arange(channels) / channels)[None, None], (1, 8192, 1))
    found = spread(*np.split(array.astype(np.float32), 8), channels=channels)
    examples = np.bincount(np.floor(found.sample).astype(int), minlength=32)
    places = np.bincount(np.rint((found.sample % 1.0) * channels).astype(int) % channels, minlength=channels)
    assert examples.min() >= 2046 and examples.max() <= 2050
    assert places.min() > 0.75 * SAMPLE / channels and places.max() < 1.25 * SAMPLE / channels
