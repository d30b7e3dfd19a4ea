"""Fashion-MNIST's IDX files: read right, and a missing or broken one says what to do."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data import fashion_mnist, read_idx
from benchmarks.train_fashion_cnn import augmented
from tfopt.errors import InvalidSamples, NotFound


def write_idx(path: Path, values: np.ndarray, kind: int = 8) -> None:
    head = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(head + values.tobytes()))


def test_a_split_is_read_from_its_two_files(tmp_path: Path) -> None:
    images = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.array([9, 2], np.uint8))
    found, labels = fashion_mnist("test", tmp_path)
    assert (found == images).all()
    assert labels.dtype == np.int64
    assert labels.tolist() == [9, 2]


def test_images_without_their_labels_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", np.zeros((2, 28, 28), np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(3, np.uint8))
    with pytest.raises(InvalidSamples, match="2 images but 3 labels"):
        fashion_mnist("test", tmp_path)


def test_a_missing_file_names_the_package_to_install(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="apt-get install dataset-fashion-mnist"):
        fashion_mnist("train", tmp_path)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "idx.gz"
    write_idx(path, np.zeros((2, 3), np.uint8), kind=0x0D)
    with pytest.raises(InvalidSamples, match="unsigned bytes"):
        read_idx(path)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + b"four"))
    with pytest.raises(InvalidSamples, match="holds 4 bytes"):
        read_idx(path)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0])))
    with pytest.raises(InvalidSamples, match="cut off"):
        read_idx(path)
    write_idx(path, np.zeros((2, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidSamples, match="not a whole gzip file"):
        read_idx(path)


def test_augmentation_only_shifts_and_mirrors() -> None:
    image = np.zeros((1, 28, 28, 1), np.float32)
    image[0, 10, 5] = 1
    lit = {tuple(map(int, np.argwhere(augmented(image, np.random.default_rng(seed)))[0, 1:3])) for seed in range(200)}
    columns = {column if column < 14 else 27 - column for _, column in lit}
    assert {row for row, _ in lit} == {9, 10, 11}
    assert columns == {4, 5, 6}
    assert len(lit) == 18
