"""Samples that do not fit into memory: mapped from files, chosen by row, and joined outputs that go to a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.kinds import kind
from tfopt.data import Samples, load_samples, rows, split
from tfopt.data.rows import ChosenRows, Spool
from tfopt.ir.types import DType

X = {"x": kind(DType.FLOAT32, None, 4)}


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "IN_MEMORY", 64)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool", "complex64", "float16", "<U3"])
def test_a_spool_gives_back_what_went_in(dtype: str) -> None:
    parts = [np.arange(n * 3).reshape(n, 3).astype(dtype) for n in (1, 4, 2)]
    for limit in (0, 20, 10_000):
        spool = Spool(limit)
        for part in parts:
            spool.append(part)
        whole = spool.finish((7, 3))
        np.testing.assert_array_equal(whole, np.concatenate(parts))
        assert isinstance(whole, np.memmap) == (limit < 10_000)


def test_a_spool_refuses_another_dtype_and_another_size() -> None:
    spool = Spool(0)
    spool.append(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="cannot go on"):
        spool.append(np.zeros(3, np.float64))
    with pytest.raises(ValueError, match="12 bytes"):
        spool.finish((4,))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_archive_is_mapped_and_split_without_being_read(tmp_path: Path, save: object, order: str) -> None:
    array = np.asarray(np.arange(400, dtype=np.float32).reshape(100, 4), order=order)
    save(tmp_path / "a.npz", x=array)  # type: ignore[operator]  # either of numpy's two functions
    samples = load_samples(tmp_path / "a.npz", X)
    assert isinstance(samples.arrays["x"], np.memmap)
    sides = split(samples)
    assert isinstance(sides.held_out.arrays["x"], ChosenRows)
    np.testing.assert_array_equal(np.asarray(sides.held_out.arrays["x"]), array[sides.held_out_indices])
    few = sides.held_out.take([3, 1])
    np.testing.assert_array_equal(np.asarray(few.arrays["x"]), array[sides.held_out_indices[[3, 1]]])
    batches = [batch["x"] for batch in few.batches(1)]
    np.testing.assert_array_equal(np.concatenate(batches), array[sides.held_out_indices[[3, 1]]])


@pytest.mark.usefixtures("little_memory")
def test_the_split_is_the_same_mapped_or_not(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=array)
    mapped, held = split(load_samples(tmp_path / "a.npz", X)), split(Samples({"x": array}, "file", ""))
    assert mapped.record["data"] == held.record["data"]
    np.testing.assert_array_equal(mapped.held_out_indices, held.held_out_indices)


@pytest.mark.usefixtures("little_memory")
def test_outputs_are_joined_in_a_file() -> None:
    samples = Samples({"x": np.arange(80, dtype=np.float32).reshape(20, 4)}, "file", "")
    outputs = samples.map(lambda batch: {"y": batch["x"] * 2, "sum": batch["x"].sum(keepdims=True)}, 8)
    assert isinstance(outputs["y"], np.memmap)
    np.testing.assert_array_equal(outputs["y"], np.arange(80).reshape(20, 4) * 2)
    assert outputs["sum"].shape == (3, 1, 1)


@pytest.mark.usefixtures("little_memory")
def test_a_mapped_file_is_converted_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfopt.data import checks
    from tfopt.errors import InvalidSamples

    monkeypatch.setattr(checks, "_CHUNK", 16)
    array = np.arange(400, dtype=np.float64).reshape(100, 4)
    np.save(tmp_path / "a.npy", array)
    samples = load_samples(tmp_path / "a.npy", X)
    assert isinstance(samples.arrays["x"], np.memmap)
    np.testing.assert_array_equal(samples.arrays["x"], array.astype(np.float32))
    array[70, 2] = 1e300
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InvalidSamples, match=r"at \[70,2\] does not fit"):
        load_samples(tmp_path / "a.npy", X)
