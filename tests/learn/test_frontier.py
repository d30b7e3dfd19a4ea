"""A model run part by part makes what it makes as a whole, and keeps what later parts read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.passes.decided import model_of
from tests.running import run_graph
from tfopt.data import Samples, batching
from tfopt.evidence import input_types
from tfopt.ir.graph import Model, Value
from tfopt.learn import frontier
from tfopt.learn.frontier import Frontier

#: A skip over two layers, a Split of which both halves are read, rows of several positions flattened into one axis.
SKIPS = """
  %x = Placeholder() {dtype: float32, shape: [?,3,4]} -> float32[?,3,4]
  %w = Const() {dtype: float32, value: float32[4,4] random(1)} -> float32[4,4]
  %flat = Const() {dtype: int32, value: int32[2] [-1, 4]} -> int32[2]
  %back = Const() {dtype: int32, value: int32[3] [-1, 3, 4]} -> int32[3]
  %last = Const() {dtype: int32, value: int32[] 2} -> int32[]
  %a = BatchMatMulV2(%x, %w) {T: float32} -> float32[?,3,4]
  %two = Split(%last, %a) {T: float32, num_split: 2} -> float32[?,3,2], float32[?,3,2]
  %t = Tanh(%two:1) {T: float32} -> float32[?,3,2]
  %c = ConcatV2(%two, %t, %last) {T: float32, Tidx: int32, N: 2} -> float32[?,3,4]
  %f = Reshape(%c, %flat) {T: float32, Tshape: int32} -> float32[?,4]
  %b = MatMul(%f, %w) {T: float32} -> float32[?,4]
  %r = Reshape(%b, %back) {T: float32, Tshape: int32} -> float32[?,3,4]
  %d = AddV2(%r, %a) {T: float32} -> float32[?,3,4]
  %y = BatchMatMulV2(%d, %w) {T: float32} -> float32[?,3,4]
"""
ASKED = [("x", "a"), ("two:1", "t"), ("c", "f"), ("f", "b"), ("b", "r"), ("d", "y")]


@pytest.fixture
def model() -> Model:
    return model_of(SKIPS, "%y")


@pytest.fixture
def data() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(7, 3, 4)).astype(np.float32)


def value_of(text: str) -> Value:
    name, _, port = text.partition(":")
    return Value(name, int(port or 0))


def started(model: Model, data: NDArray[Any]) -> Frontier:
    samples = Samples({"x": data}, "file", "drawn", batching(input_types(model.signatures["serving_default"])))
    return Frontier({"serving_default": samples}, [reader for _, reader in ASKED])


def made(front: Frontier, model: Model, text: str, reader: str) -> NDArray[Any]:
    value = value_of(text)
    assert front.examples(model, value) == 7
    return np.concatenate([array for _, array, _ in front.fetch(model, [value], [reader])])


@pytest.mark.parametrize("largest", [1 << 32, 0])  # all is kept, or all is computed again
def test_parts_make_what_the_whole_makes(
    model: Model, data: NDArray[np.float32], largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier, "_LARGEST", largest)
    front = started(model, data)
    for text, reader in ASKED:
        whole = model_of(SKIPS, f"%{text}")
        (expected,) = run_graph(whole.graph, {"x": data})
        np.testing.assert_allclose(made(front, model, text, reader), expected, rtol=1e-5, atol=1e-6)


def test_what_is_kept_is_not_computed_again(model: Model, data: NDArray[np.float32]) -> None:
    front = started(model, data)
    for text, reader in ASKED[:3]:
        made(front, model, text, reader)
    (kept,) = front._kept.values()
    # The skip still reads what the first layer makes, which was not asked for itself.
    assert set(kept) == {Value("x"), Value("c")}
    for text, reader in ASKED[3:]:
        made(front, model, text, reader)
    (kept,) = front._kept.values()
    assert not kept  # nobody will read any of it
