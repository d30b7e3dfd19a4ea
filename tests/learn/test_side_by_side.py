"""What two models see at the same places: rows of one, outputs of the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.passes.decided import IMAGE, conv, model_of, op
from tests.running import run_graph
from tfopt.data import Samples, batching
from tfopt.evidence import input_types
from tfopt.ir.fused import fused_layers
from tfopt.ir.graph import Model
from tfopt.learn import runs, side_by_side
from tfopt.learn.side_by_side import SampleRefits
from tfopt.passes.needs.refits import Pairs, Refit

MODEL = IMAGE + conv("a", "x") + op("ar", "Relu", "a") + conv("b", "ar", 1) + op("s", "AddV2", "x", "b")


def given(model: Model, data: NDArray[Any]) -> SampleRefits:
    samples = Samples({"x": data}, "file", "drawn", batching(input_types(model.signatures["serving_default"])))
    return SampleRefits({"serving_default": samples})


def refits(model: Model) -> list[Refit]:
    return [Refit(fused, fused.output, None) for fused in fused_layers(model.graph)]


def pairs_of(model: Model, data: NDArray[Any]) -> list[Pairs]:
    chosen = refits(model)
    followed = given(model, data).follow(model, chosen)
    found = [followed.pairs(model, refit) for refit in chosen]
    return [pairs for pairs in found if pairs is not None]


@pytest.fixture
def data() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(20, 8, 8, 4)).astype(np.float32)


def test_rows_times_weight_and_what_is_added_are_what_the_reference_makes(data: NDArray[np.float32]) -> None:
    model = model_of(MODEL, "%s")
    pairs = pairs_of(model, data)
    assert len(pairs) == 2
    for fused, pair in zip(fused_layers(model.graph), pairs, strict=True):
        assert fused.bias is not None
        assert [len(part.wanted) for part in (pair.fitted, pair.held_out)] == [16 * 64, 4 * 64]
        for part in (pair.fitted, pair.held_out):
            made = (part.rows @ fused.layer.matrices)[0] + fused.bias
            made = made if part.residual is None else made + part.residual
            wanted = np.maximum(part.wanted, 0) if fused.activation else part.wanted
            # What is wanted stands in front of the activation where the refit says so; here it is behind.
            np.testing.assert_allclose(np.maximum(made, 0) if fused.activation else made, wanted, atol=1e-4)
    assert pairs[1].places == 64
    (made,) = run_graph(model.graph, {"x": data})
    np.testing.assert_allclose(pairs[1].held_out.wanted, made[[4, 5, 14, 15]].reshape(-1, 4), atol=1e-4)


def test_places_do_not_hang_on_how_many_examples_a_call_has(
    data: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(MODEL, "%s")
    monkeypatch.setattr(side_by_side, "_PLACES", 100)
    monkeypatch.setattr(side_by_side, "_PER_ELEMENT", 0)
    whole = pairs_of(model, data)
    assert len(whole[0].fitted.wanted) + len(whole[0].held_out.wanted) == 100
    monkeypatch.setattr(runs, "FETCHED", 1 << 14)
    for one, other in zip(whole, pairs_of(model, data), strict=True):
        np.testing.assert_allclose(one.fitted.rows, other.fitted.rows, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.held_out.wanted, other.held_out.wanted, rtol=1e-5, atol=1e-6)


def test_rows_are_as_many_as_fit(data: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(MODEL, "%s")
    monkeypatch.setattr(side_by_side, "_ROWS", 4 * (36 + 12) * 50)
    monkeypatch.setattr(side_by_side, "_HELD", 1)  # each layer of the reference by itself
    first, second = pairs_of(model, data)
    assert first.fitted.rows.shape[1] + first.held_out.rows.shape[1] == 50
    assert second.fitted.rows.shape[1] > 100
