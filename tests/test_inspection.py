"""`tfopt inspect`: what it says of a model is what the model is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tfopt
from tests import models
from tfopt.cli.main import main
from tfopt.inspection import inspect_model
from tfopt.recipe import load_recipe

CNN = Path(tfopt.__file__).parent / "demo" / "fashion_cnn"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, built: Callable[..., Path]) -> Path:
    out = tmp_path_factory.mktemp("small") / "out"
    tfopt.compress(built(models.linear), out, recipe=_float_tflite(out.parent))
    return out


def _float_tflite(directory: Path) -> str:
    recipe = directory / "float.yaml"
    recipe.write_text("steps: [remove_identities, tflite]")
    return str(recipe)


def test_signatures_figures_and_what_the_exact_passes_find(built: Callable[..., Path]) -> None:
    found = inspect_model(built(models.two_signatures))
    assert found.signatures["score"] == {
        "inputs": {"x": "float32[?,5]"},
        "outputs": {"score": "float32[?,1]"},
        "method_name": "tensorflow/serving/predict",
    }
    assert found.figures is not None
    assert found.figures.parameters == 5 * 4 + 4 * 1
    assert found.operations is not None
    assert found.operations["MatMul"] == 4
    assert sum(found.operations.values()) == found.figures.nodes


def test_findings_of_every_round_are_counted() -> None:
    found = inspect_model(CNN).found
    assert found is not None
    folded = [finding for finding in found["fold_batch_norm"] if finding.done]
    assert len(folded) == len({finding.node for finding in folded}) > 0


def test_a_version_s_size_is_that_of_the_artifact(small: Path) -> None:
    found = inspect_model(small)
    assert found.bytes < sum(path.stat().st_size for path in small.rglob("*") if path.is_file())
    tflite = inspect_model(small / "model.tflite")
    assert (tflite.kind, tflite.bytes) == ("tflite", (small / "model.tflite").stat().st_size)
    assert tflite.signatures == found.signatures


def test_a_version_without_a_saved_model_shows_its_tflite(small: Path, tmp_path: Path) -> None:
    shutil.copy(small / "model.tflite", tmp_path / "model.tflite")
    assert inspect_model(tmp_path).signatures == inspect_model(small / "model.tflite").signatures


def test_the_command_prints_tables_json_and_the_graph(
    built: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(built(models.linear))
    assert main(["inspect", model]) == 0
    assert "float32[?,3]" in capsys.readouterr().out
    assert main(["inspect", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["parameters"] == 8
    assert main(["inspect", model, "--explain"]) == 0
    assert "remove_identities:\n  did " in capsys.readouterr().out
    assert main(["inspect", model, "--graph"]) == 0
    assert "MatMul(" in capsys.readouterr().out
    assert main(["inspect", str(CNN / "variables"), "--graph"]) == 3


def test_explain_says_where_it_cannot(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(small / "model.tflite"), "--explain"]) == 0
    assert "note: what is in a tflite file is not looked at" in capsys.readouterr().err
    assert main(["inspect", str(small), "--explain", "--json"]) == 2
    assert "exact_passes" in capsys.readouterr().err


def test_only_passes_with_something_to_say_have_a_row(
    built: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(built(models.linear))
    assert main(["inspect", model]) == 0
    shown = capsys.readouterr().out
    table, _, idle = shown.partition("nothing to do for")
    assert "remove_identities" in table and "fold_pad" not in table
    assert "fold_pad" in idle
    assert main(["inspect", model, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["exact_passes"]
    assert set(listed) == {step.step.name for step in load_recipe("exact")}


def test_what_pruning_would_zero_by_default(built: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    model = str(built(models.cnn_with_batch_norm))
    assert main(["inspect", model, "--explain"]) == 0
    shown = capsys.readouterr().out
    _, _, lossy = shown.partition("lossy pass")
    assert "weights are zero (50.0%)" in lossy and "is a depthwise filter" in lossy
    assert main(["inspect", model, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["lossy_passes"]
    assert {finding["done"] for finding in listed["prune_magnitude"]} == {True, False}
