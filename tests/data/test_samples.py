"""How examples become calls, and answers examples again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.kinds import IMAGE, images, kind, refused, saved
from tfopt.data import Samples, batching, load_samples, synthetic_samples
from tfopt.ir.types import UNKNOWN_SHAPE, DType, TensorType


def shapes(samples: Samples, size: int) -> list[dict[str, tuple[int, ...]]]:
    return [{name: array.shape for name, array in batch.items()} for batch in samples.batches(size)]


def test_a_free_batch() -> None:
    samples = synthetic_samples({"x": kind(DType.FLOAT32, None, 3), "n": TensorType(DType.INT64, UNKNOWN_SHAPE)}, 5)
    assert shapes(samples, 2) == [{"x": (k, 3), "n": (k,)} for k in (2, 2, 1)]


def test_a_fixed_batch_takes_full_blocks(tmp_path: Path) -> None:
    inputs = {"x": kind(DType.FLOAT32, 4, 2), "y": kind(DType.INT32, 4)}
    path = saved(tmp_path, x=np.ones((10, 2), np.float32), y=np.arange(10))
    samples = load_samples(path, inputs)
    assert shapes(samples, 99) == [{"x": (4, 2), "y": (4,)}] * 2
    assert "the last 2 are left out" in samples.description
    assert "batches of exactly 4" in refused(saved(tmp_path, x=np.ones((3, 2), np.float32), y=np.arange(3)), inputs)
    assert synthetic_samples(inputs, 5).count == 8


def test_whole_batches_may_be_stacked_in_the_file(tmp_path: Path) -> None:
    inputs = {"x": kind(DType.FLOAT32, 1, 2, 3)}
    samples = load_samples(saved(tmp_path, x=images(5)[:, None]), inputs)
    assert shapes(samples, 8) == [{"x": (1, 2, 3)}] * 5


def test_inputs_without_a_batch_axis_are_whole(tmp_path: Path) -> None:
    inputs = {"x": IMAGE, "rate": kind(DType.FLOAT32), "table": kind(DType.FLOAT32, 2, 2)}
    rates = np.array([1, 2, 3, 4], np.float32)
    samples = load_samples(saved(tmp_path, x=images(), rate=rates, table=np.ones((4, 2, 2), np.float32)), inputs)
    assert shapes(samples, 99) == [{"x": (1, 2, 3), "rate": (), "table": (2, 2)}] * 4
    assert [float(batch["rate"]) for batch in samples.batches(1)] == [1, 2, 3, 4]
    words = synthetic_samples({"a": kind(DType.STRING), "b": kind(DType.FLOAT32, 3, 2)}, 2)
    batch = next(iter(words.batches(1)))
    assert isinstance(batch["a"].item(), bytes)
    assert batch["b"].shape == (3, 2)


@pytest.mark.parametrize(
    ("types", "size", "whole"),
    [
        ([IMAGE, kind(DType.FLOAT32)], None, {"1"}),
        ([kind(DType.FLOAT32, 8, 2), kind(DType.FLOAT32, 8)], 8, set()),
        ([kind(DType.FLOAT32, 1, 2), kind(DType.FLOAT32)], 1, {"1"}),
        ([kind(DType.FLOAT32, 8, 2), kind(DType.FLOAT32)], None, {"0", "1"}),
        ([kind(DType.FLOAT32, 8, 2), kind(DType.FLOAT32, 4)], None, {"0", "1"}),
        ([kind(DType.FLOAT32)], None, {"0"}),
    ],
)
def test_what_one_example_is(types: list[TensorType], size: int | None, whole: set[str]) -> None:
    how = batching({str(i): t for i, t in enumerate(types)})
    assert (how.size, how.whole) == (size, whole)


@given(st.integers(1, 20), st.integers(1, 7))
def test_map_gives_the_examples_back_in_order(count: int, size: int) -> None:
    samples = Samples({"x": np.arange(count)}, "file", "")
    outputs = samples.map(
        lambda batch: {
            "same": batch["x"],
            "rows": np.stack([batch["x"]] * 2, 1),
            "constant": np.zeros((0, 3)),
            "ragged": np.zeros(len(batch["x"]) + 1),
        },
        size,
    )
    calls = -(-count // size)
    np.testing.assert_array_equal(outputs["same"], np.arange(count))
    np.testing.assert_array_equal(outputs["rows"], np.stack([np.arange(count)] * 2, 1))
    assert outputs["constant"].shape == (calls, 0, 3)
    assert outputs["ragged"].size == count + calls


def test_map_of_whole_inputs_stacks() -> None:
    samples = synthetic_samples({"v": kind(DType.FLOAT32, 3), "w": kind(DType.FLOAT32, 2)}, 5)
    outputs = samples.map(lambda batch: {"y": batch["v"]})
    np.testing.assert_array_equal(outputs["y"], samples.arrays["v"])
