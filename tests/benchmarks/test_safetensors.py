"""The reader of .safetensors files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.safetensors import read_safetensors
from tfopt.errors import InvalidModel


def write(path: Path, header: dict[str, Any], values: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)
    return path


def test_tensors_keep_dtype_shape_and_order(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
        "n": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
    }
    values = struct.pack("<q6f", 7, *range(6))
    found = read_safetensors(write(tmp_path / "model.safetensors", header, values))
    assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
        "w": (np.float32, [[0, 1, 2], [3, 4, 5]]),
        "n": (np.int64, 7),
    }


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},  # the file ends before it
        {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2]},
    ],
    ids=["cut off", "another dtype", "no place"],
)
def test_what_is_broken_is_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    path = write(tmp_path / "model.safetensors", {"w": entry}, bytes(8))
    with pytest.raises(InvalidModel, match="not a whole"):
        read_safetensors(path)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    with pytest.raises(InvalidModel):
        read_safetensors(tmp_path / "model.safetensors")
