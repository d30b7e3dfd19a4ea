"""Integers at the edges and the real numbers that they stand for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfopt.errors import ExecutionError
from tfopt.ir import DType, Shape, TensorType
from tfopt.runtimes.base import SignatureInfo, TensorInfo, edge_grid
from tfopt.runtimes.edges import described, has_integer_edges, in_reals, off_edges, on_edges, signatures_under


def info(name: str, dtype: DType, scale: float = 0.0, zero_point: int = 0) -> TensorInfo:
    grid = edge_grid(dtype, scale, zero_point) if scale else None
    return TensorInfo(f"{name}:0", TensorType(dtype, Shape.of(None, 2)), grid)


FILE = SignatureInfo(
    {"x": info("x", DType.INT8, 0.5, -100), "ids": info("ids", DType.INT8)},
    {"y": info("y", DType.UINT8, 0.25, 10), "class": info("class", DType.INT32)},
)
CONTRACT = SignatureInfo(
    {"x": info("x", DType.FLOAT32), "ids": info("ids", DType.INT8)},
    {"y": info("y", DType.FLOAT32), "class": info("class", DType.INT32)},
)


def test_real_numbers_become_levels_and_what_lies_beyond_the_ends() -> None:
    given = np.array([[0.0, 0.24], [1e9, -np.inf]], np.float32)
    found = on_edges(FILE, {"x": given, "ids": np.ones((2, 2), np.int8)})
    assert found["x"].dtype == np.int8
    assert found["x"].tolist() == [[-100, -100], [127, -128]]
    assert found["ids"].tolist() == [[1, 1], [1, 1]]


def test_levels_stay_levels() -> None:
    levels = np.array([[1, 2]], np.int8)
    assert on_edges(FILE, {"x": levels})["x"] is levels


def test_no_level_stands_for_nan() -> None:
    with pytest.raises(ExecutionError, match="the input x holds NaN, which int8 has no number for"):
        on_edges(FILE, {"x": np.array([[np.nan, 1]], np.float32)})


def test_outputs_become_what_their_levels_stand_for() -> None:
    found = off_edges(FILE, {"y": np.array([[10, 255]], np.uint8), "class": np.array([[7, 8]], np.int32)})
    assert found["y"].dtype == np.float32
    assert found["y"].tolist() == [[0.0, 61.25]]
    assert found["class"].tolist() == [[7, 8]]


def test_a_contract_decides_what_is_told_in_real_numbers() -> None:
    assert signatures_under({"k": CONTRACT}, {"k": FILE}) == {"k": CONTRACT} == {"k": in_reals(FILE)}
    assert signatures_under({}, {"k": FILE}) == {"k": FILE}
    assert has_integer_edges(FILE)
    assert not has_integer_edges(CONTRACT)


def test_they_are_described_and_kept_in_json() -> None:
    assert SignatureInfo.from_dict(json.loads(json.dumps(FILE.as_dict()))) == FILE
    assert described(FILE) == {
        "inputs": {"x": {"dtype": "int8", "scale": 0.5, "zero_point": -100}},
        "outputs": {"y": {"dtype": "uint8", "scale": 0.25, "zero_point": 10}},
    }
