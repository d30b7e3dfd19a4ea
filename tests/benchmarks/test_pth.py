"""The reader of PyTorch state dicts: right on strided tensors, and deaf to what else a pickle may ask for."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pth import state_dict
from tfopt.errors import InvalidModel, UnsafeModel

EMPTY = b"ccollections\nOrderedDict\n)R"
STORAGE = b"(Vstorage\nctorch\nFloatStorage\nV7\nVcpu\nI6\nNtQ"


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    window = b"I%d\n" % offset + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + window + b"I00\n" + EMPTY + b"tR"


def write(path: Path, weights: bytes, values: bytes = struct.pack("<q6f", 6, *range(6))) -> Path:
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    state = EMPTY + b"Vweight\n" + weights + b"s."
    path.write_bytes(b"".join(map(pickle.dumps, head)) + state + pickle.dumps(["7"]) + values)
    return path


def test_a_tensor_keeps_its_offset_and_strides(tmp_path: Path) -> None:
    found = state_dict(write(tmp_path / "weights.pth", tensor(1, (2, 2), (1, 2))))
    assert list(found) == ["weight"]
    assert found["weight"].dtype == np.float32
    assert found["weight"].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    "foreign",
    [
        b"cos\nsystem\n(Vtouch %s\ntR",
        b"cbuiltins\neval\n(Vopen('%s', 'w')\ntR",
        b"ctorch._utils\n_rebuild_parameter\n(V%s\ntR",
        b"ccollections\nOrderedDict.__init__.__globals__\n(V%s\ntR",
    ],
)
def test_foreign_globals_are_refused_and_never_called(tmp_path: Path, foreign: bytes) -> None:
    trace = tmp_path / "trace"
    path = write(tmp_path / "weights.pth", foreign % str(trace).encode())
    with pytest.raises(UnsafeModel, match="no plain state dict needs"):
        state_dict(path)
    assert not trace.exists()


@pytest.mark.parametrize(("offset", "shape", "strides"), [(3, (2, 2), (2, 1)), (-1, (2,), (1,)), (5, (2,), (-1,))])
def test_a_tensor_outside_of_its_storage_is_refused(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidModel, match="reaches outside"):
        state_dict(write(tmp_path / "weights.pth", tensor(offset, shape, strides)))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.pth", tensor(0, (2, 3), (3, 1))).read_bytes()
    cut = tmp_path / "cut.pth"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(InvalidModel, match="not a whole state dict"):
            state_dict(cut)


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zip.pth"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InvalidModel, match="legacy format"):
        state_dict(path)
