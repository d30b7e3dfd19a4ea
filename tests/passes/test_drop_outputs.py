"""Signatures and outputs that a recipe drops: they go, with what only they needed, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tfopt
from tests import models
from tests.passes.pairs import _model, model_text
from tfopt.errors import NotFound, UsageError
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, read_warmup, write_warmup
from tfopt.ir.graph import Composite, Model
from tfopt.ir.verify import verify_model
from tfopt.passes.base import graph_pass
from tfopt.passes.drop_outputs import drop_outputs
from tfopt.recipe import Recipe, RecipeStep
from tfopt.runtimes.tensorflow import TensorFlowRuntime

BEFORE = """signature serving_default: x=%x -> y=%y, f=%f
signature features: x=%x, scale=%scale -> f=%f, g=%g
graph {
  %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
  %scale = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
  %y = Relu(%x) {T: float32} -> float32[?,2]
  %f = Exp(%x) {T: float32} -> float32[?,2]
  %g = Mul(%f, %scale) {T: float32} -> float32[?,2]
  inputs %x, %scale
  outputs %y, %f, %f, %g
}
"""


def dropped(**options: tuple[str, ...]) -> str:
    outcome = drop_outputs.run_model(_model(BEFORE), options)
    verify_model(outcome.model)
    return model_text(outcome.model)


def test_a_signature_goes_with_what_only_it_needs() -> None:
    assert dropped(signatures=("features",)) == (
        "signature serving_default: x=%x -> y=%y, f=%f\n"
        "graph {\n"
        "  %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]\n"
        "  %y = Relu(%x) {T: float32} -> float32[?,2]\n"
        "  %f = Exp(%x) {T: float32} -> float32[?,2]\n"
        "  inputs %x\n"
        "  outputs %y, %f\n"
        "}\n"
    )


def test_an_output_goes_from_one_signature_or_from_all() -> None:
    of_one = dropped(outputs=("serving_default:f",))
    assert "signature serving_default: x=%x -> y=%y\n" in of_one and "-> f=%f, g=%g\n" in of_one
    of_all = dropped(outputs=("f",))
    assert "signature features: x=%x, scale=%scale -> g=%g\n" in of_all and "outputs %y, %g\n" in of_all


def test_what_is_not_asked_for_stays() -> None:
    before = _model(BEFORE)
    assert drop_outputs.run_model(before).model is before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"signatures": ("featrues",)}, "no signature featrues; did you mean features"),
        ({"outputs": ("h",)}, "no output h"),
        ({"outputs": ("serving_default:g",)}, "no output serving_default:g"),
        ({"signatures": ("features", "serving_default")}, "would leave no signature"),
        (
            {"outputs": ("features:f", "g")},
            r"features without outputs; drop the signature \(signatures: \[features\]\)",
        ),
    ],
)
def test_what_cannot_be_dropped_is_told(options: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        dropped(**options)


def test_one_part_of_a_sparse_output_is_not_dropped_alone() -> None:
    before = _model(BEFORE)
    sparse = Composite("sparse", ("f", "g"), is_input=False, form=b"")
    signatures = {**before.signatures, "features": replace(before.signatures["features"], composites=(sparse,))}
    with pytest.raises(UsageError, match="the output sparse of features is one of 2 tensors; drop all of them: f, g"):
        drop_outputs.run_model(replace(before, signatures=signatures), {"outputs": ("g",)})


def recipe(**options: tuple[str, ...]) -> Recipe:
    return Recipe("small", (RecipeStep(drop_outputs, options),))


def test_the_result_has_the_contract_that_was_asked_for(built: Callable[..., Path], tmp_path: Path) -> None:
    source, out = built(models.two_signatures), tmp_path / "out"
    result = tfopt.compress(source, out, recipe=recipe(signatures=("score",)))
    with TensorFlowRuntime(out) as runtime:
        assert set(runtime.signatures) == {"serving_default"}
    assert result.manifest["signatures"].keys() == {"serving_default"}
    assert result.artifacts[0].judgements.keys() == {"serving_default"}
    assert any(note.startswith("dropped, as the recipe says: ") and "signature score" in note for note in result.notes)
    json.dumps(result.manifest)


def test_a_signature_that_nobody_asked_to_drop_is_missed(built: Callable[..., Path], tmp_path: Path) -> None:
    @graph_pass
    def lose(model: Model) -> Model:
        """Lose a signature."""
        return drop_outputs.run_model(model, {"signatures": ("score",)}).model

    with pytest.raises(NotFound, match='no signature is called "score"'):
        tfopt.compress(built(models.two_signatures), tmp_path / "out", recipe=Recipe("lose", (RecipeStep(lose, {}),)))


def test_the_signature_that_is_judged_stays(built: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="serving_default is the one that the result is judged by"):
        tfopt.compress(built(models.two_signatures), tmp_path / "out", recipe=recipe(signatures=("serving_default",)))
    assert not list(tmp_path.iterdir())


def test_warmup_requests_of_what_is_dropped_go_too(tmp_path: Path) -> None:
    source, out = models.two_signatures(tmp_path / "model"), tmp_path / "out"
    rows = np.ones((1, 5), np.float32)
    both = WarmupRequest("m", "serving_default", {"x": rows, "scale": np.ones((), np.float32)})
    write_warmup(source / WARMUP_PATH, [both, WarmupRequest("m", "score", {"x": rows})] * 2)
    tfopt.compress(source, out, recipe=recipe(signatures=("score",)))
    assert [request.signature for request in read_warmup(out / WARMUP_PATH)] == ["serving_default"] * 2
