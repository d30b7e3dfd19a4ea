"""`tfopt compress` with what takes something away, repairs and teaches: what a user types and what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tfopt
from tests import models
from tests.cli.test_compress import SAMPLES, Run, error_line, run
from tfopt.recipe import load_recipe

CNN = Path(tfopt.__file__).parent / "demo" / "fashion_cnn"

#: Recipes that train if need be, and how many points a little data lets them lose.
RECIPES = ["edge", "half-macs", "quarter-bytes", "sparse-int8"]

__all__ = ["run"]


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 images: half of them are fitted to."""
    path = tmp_path_factory.mktemp("samples") / "some.npz"
    with np.load(SAMPLES) as arrays:
        np.savez(path, **{name: arrays[name][:80] for name in arrays.files})
    return path


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_for_an_aim_reaches_it(run: Run, tmp_path: Path, some: Path, recipe: str) -> None:
    out = tmp_path / "out"
    code, told, err = run("compress", CNN, out, "--recipe", recipe, "--data", some, "--max-drop", "40", "--json")
    assert code == 0, err
    manifest = json.loads(told)
    first, last = manifest["ledger"][0], manifest["ledger"][-1]
    steps = [row["step"] for row in manifest["ledger"]]
    assert {item.step.name for item in load_recipe(recipe) if item.step.kind == "pass"} <= set(steps)
    assert steps.index("repair") < steps.index("distill")
    assert "distill was not run, since the limits hold on the calibration samples without it" in err
    whole = sum(path.stat().st_size for path in CNN.rglob("*") if path.is_file())
    if recipe in ("half-macs", "edge"):
        assert last["macs"] <= 0.5 * first["macs"]
    if recipe in ("quarter-bytes", "edge"):
        assert all(artifact["bytes"] <= 0.25 * whole for artifact in manifest["artifacts"].values())
    if recipe == "sparse-int8":
        assert last["nonzeros"] <= 0.21 * last["parameters"]
        assert manifest["artifacts"]["tflite"]["gzip_bytes"] <= 0.12 * whole
    assert {path.name for path in out.glob("model.*")} == (
        {"model.tflite"} if "tflite" in manifest["artifacts"] else set()
    )


def test_a_repair_stands_behind_what_is_taken_away(run: Run, tmp_path: Path, built: Callable[..., Path]) -> None:
    np.savez(tmp_path / "x.npz", image=np.random.default_rng(0).standard_normal((200, 8, 8, 3)).astype(np.float32))
    flags = ["--prune", "0.5", "--data", tmp_path / "x.npz", "--max-drop", "100", "--json"]
    snr = {}
    for name, more, last in (("a", [], "repair"), ("b", ["--no-repair"], "prune_magnitude")):
        code, told, err = run("compress", built(models.classifier), tmp_path / name, *flags, *more)
        assert code == 0, err
        made = json.loads(told)
        assert made["ledger"][-1]["step"] == last
        snr[name] = made["artifacts"]["saved_model"]["fidelity"]["serving_default"]["snr_db"]
    assert snr["a"] > snr["b"] + 1


def test_without_samples_nothing_is_repaired_and_that_is_said(run: Run, tmp_path: Path) -> None:
    code, told, err = run("compress", CNN, tmp_path / "out", "--prune", "0.1", "--max-drop", "100", "--json")
    assert code == 0, err
    assert "repair" not in [row["step"] for row in json.loads(told)["ledger"]]
    assert "note: without samples there was no repair" in err


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--prune-channels", "1"], 7, "prune_channels: ratio is 1.0"),
        (["--prune-channels", "0.99"], 7, "leaves none of the 32 channels of"),
        (["--prune-channels", "-0.5"], 7, "ratio is -0.5"),
        (["--target-macs", "0"], 7, "target_macs is 0.0"),
        (["--target-macs", "0.0001"], 7, "multiply-adds cannot come down to"),
        (["--merge-neurons", "1"], 7, "merge_neurons: ratio is 1.0"),
        (["--cut-branches", "-1"], 7, "cut_branches: max_damage is -1.0"),
        (["--cluster", "1"], 7, "cluster_weights: "),
        (["--prune-channels", "0.5", "--target-macs", "0.5"], 2, "--prune-channels and --target-macs are two aims"),
        (["--prune-channels", "half"], 2, "should be a valid number"),
        (["--distill"], 2, "--distill has nothing to make up for"),
        (["--prune-channels", "0.5", "--student", "a.keras"], 2, "--student takes the place of the model"),
        (["--checkpoint", "train"], 2, "--checkpoint needs --distill or --student"),
        (["--no-repair"], 2, "--no-repair needs a step that a repair stands behind"),
        (["--tflite-edges", "int8"], 2, "--tflite-edges int8 needs --quantize int8"),
        (["--rounding", "adaptive"], 2, "--rounding needs --quantize int8"),
        (["--reduce-range-auto"], 2, "--reduce-range-auto needs --quantize int8"),
        (["--quantize", "int8", "--reduce-range-auto", "--reduce-range"], 2, "two answers to one question"),
        (["--recipe", "exact", "--cluster", "16"], 2, "--recipe and the flags"),
        (["--student", "missing.keras"], 11, "missing.keras"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_one_line(
    run: Run, tmp_path: Path, some: Path, flags: list[str], code: int, said: str
) -> None:
    got, out, err = run("compress", CNN, tmp_path / "out", "--data", some, *flags)
    assert got == code, err
    lines = [line for line in err.splitlines() if not line.startswith("[")]
    assert said in lines[-1], err
    assert "Traceback" not in err
    assert out == "" and not list(tmp_path.iterdir())


def test_too_few_samples_to_fit_to_say_how_many_are_needed(run: Run, tmp_path: Path, some: Path) -> None:
    few = tmp_path / "few.npz"
    with np.load(some) as arrays:
        np.savez(few, **{name: arrays[name][:10] for name in arrays.files})
    code, _, err = run("compress", CNN, tmp_path / "out", "--prune", "0.5", "--data", few)
    assert code == 6, err
    assert "16" in error_line(err) and "--no-repair" in error_line(err)
    assert [path.name for path in tmp_path.iterdir()] == ["few.npz"]


def test_strict_undoes_what_gains_nothing(run: Run, tmp_path: Path, built: Callable[..., Path]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("strict: true\nsteps: [include: exact, prune_magnitude: {sparsity: 0.0}]\n")
    code, told, err = run("compress", built(models.linear), tmp_path / "out", "--recipe", recipe, "--json")
    assert code == 0, err
    assert json.loads(told)["ledger"][-1]["step"] == "prune_magnitude"
