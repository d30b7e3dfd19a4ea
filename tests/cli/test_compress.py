"""`tfopt compress` as a user types it: what it writes, what it refuses, what it leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tests import models
from tests.sensitive import HARMED, sabotaged
from tfopt.cli.main import main
from tfopt.errors import UsageError
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, write_warmup
from tfopt.recipe import load_recipe, shipped_recipes
from tfopt.targets.saved_model import write_saved_model

BUNDLE = Path(tfopt.__file__).parent / "demo"
CNN = BUNDLE / "fashion_cnn"
SAMPLES = BUNDLE / "fashion_mnist.npz"
LABELS = BUNDLE / "fashion_mnist_labels.npy"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def error_line(err: str) -> str:
    """The one line of a failure, behind the lines of progress."""
    lines = [line for line in err.splitlines() if not line.startswith("[")]
    assert len(lines) == 1, err
    assert lines[0].startswith("tfopt: ")
    return lines[0]


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("int8") / "small"
    arguments = ["compress", CNN, out, "--quantize", "int8", "--data", SAMPLES, "--labels", LABELS, "--max-drop", "2"]
    assert main([str(a) for a in arguments]) == 0
    return out


def test_the_version_directory_is_whole(int8: Path) -> None:
    manifest = json.loads((int8 / "assets.extra/tfopt.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["artifacts"].keys() == {"saved_model", "tflite"}
    assert (int8 / "saved_model.pb").is_file()
    assert (int8 / "model.tflite").stat().st_size == manifest["artifacts"]["tflite"]["bytes"]
    assert set(manifest["files"]) | {"assets.extra/tfopt.json"} == set(tree(int8))
    record = manifest["samples"]["signatures"]["serving_default"]
    assert record["calibration"] + record["held_out"] == 400
    steps = [row["step"] for row in manifest["ledger"]]
    assert steps[0] == "original"
    assert "fold_batch_norm" in steps
    assert not [p for p in int8.parent.iterdir() if p != int8]


def test_int8_is_small_and_right(int8: Path) -> None:
    original = sum(p.stat().st_size for p in CNN.rglob("*") if p.is_file())
    assert (int8 / "model.tflite").stat().st_size <= 0.30 * original
    fidelity = json.loads((int8 / "assets.extra/tfopt.json").read_text())["artifacts"]["tflite"]["fidelity"]
    assert fidelity["serving_default"]["passed"]
    assert fidelity["serving_default"]["accuracy_after"] > 0.85


def test_the_exact_recipe_is_the_default_and_stands_beside_the_model(run: Run, tmp_path: Path) -> None:
    shutil.copytree(CNN, tmp_path / "model")
    before = tree(tmp_path / "model")
    code, out, err = run("compress", tmp_path / "model", "--data", SAMPLES, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["path"] == str(tmp_path / "model-exact")
    assert result["artifacts"].keys() == {"saved_model"}
    last = result["ledger"][-1]
    assert last["change"] < 1e-5
    assert last["nodes"] < result["ledger"][0]["nodes"]
    assert tree(tmp_path / "model") == before


def test_without_data_it_says_that_samples_are_synthetic(run: Run, tmp_path: Path) -> None:
    code, _, err = run("compress", CNN, tmp_path / "out", "--quantize", "int8", "--max-drop", "100")
    assert code == 0, err
    assert "no samples were given, so random ones stand in" in err


def test_a_refused_result_writes_nothing_and_shows_the_ledger(run: Run, tmp_path: Path) -> None:
    code, out, err = run("compress", CNN, tmp_path / "out", "--prune", "0.97", "--data", SAMPLES, "--max-drop", "0.5")
    assert code == 8
    assert "prune_magnitude" in out
    assert "agreement" in error_line(err)
    assert not list(tmp_path.iterdir())


def test_explain_says_what_was_found_and_what_was_left(run: Run, tmp_path: Path) -> None:
    code, out, err = run("compress", CNN, tmp_path / "out", "--data", SAMPLES, "--explain")
    assert code == 0, err
    assert "fold_batch_norm:" in out and "zeros make" not in err
    measured = next(line for line in out.splitlines() if line.startswith("saved_model "))
    assert "100.0%" in measured  # argmax agreement, beside KL, cosine, SNR and the largest difference
    assert len(measured.split()) == 12
    assert "did " in out


def test_flags_can_be_saved_as_a_recipe_that_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    flags = ["--prune", "0.3", "--exclude", "*dense*", "--data", SAMPLES, "--max-drop", "50"]
    code, _, err = run("compress", CNN, tmp_path / "a", *flags, "--save-recipe", recipe)
    assert code == 0, err
    assert err.count("note: zeros make downloads smaller") == 1
    again = ["--recipe", recipe, "--data", SAMPLES, "--max-drop", "50"]
    assert run("compress", CNN, tmp_path / "b", *again)[0] == 0
    for name in ("saved_model.pb",):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


IMAGES = np.zeros((4, 28, 28, 1), np.float32)


RECIPES = ["bfloat16", "dynamic", "exact", "float16", "int8", "onnx", "prune-int8", "weights"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_shipped_recipe_passes_its_own_gate(run: Run, tmp_path: Path, recipe: str) -> None:
    code, out, err = run("compress", CNN, tmp_path / "out", "--recipe", recipe, "--data", SAMPLES, "--json")
    assert code == 0, err
    ran = {row["step"] for row in json.loads(out)["ledger"]}
    asked = {item.step.name for item in load_recipe(recipe) if item.step.kind == "pass"}
    assert asked <= ran
    targets = {item.step.name for item in load_recipe(recipe) if item.step.kind == "target"}
    assert {path.name for path in (tmp_path / "out").glob("model.*")} == {f"model.{target}" for target in targets}


def test_the_shipped_recipes_are_all_run_here() -> None:
    from tests.cli.test_compress_structure import RECIPES as FOR_AIMS

    assert set(shipped_recipes()) == {*RECIPES, *FOR_AIMS}


def test_one_version_may_hold_every_kind_of_artifact(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "all"
    code, _, err = run("compress", CNN, out, "--quantize", "float16", "--onnx", "--data", SAMPLES)
    assert code == 0, err
    manifest = json.loads((out / "assets.extra/tfopt.json").read_text())
    assert manifest["artifacts"].keys() == {"saved_model", "tflite", "onnx"}
    assert manifest["artifacts"]["onnx"]["requires"] == ["ONNX opset 17"]
    assert (out / "model.tflite").stat().st_size < 0.55 * (out / "model.onnx").stat().st_size
    code, answer, err = run("inspect", out / "model.onnx", "--json")
    assert code == 0, err
    inspected = json.loads(answer)
    assert inspected["kind"] == "onnx"
    assert inspected["signatures"]["serving_default"] == {
        "inputs": {"image": "float32[?,28,28,1]"},
        "outputs": {"probabilities": "float32[?,10]"},
        "method_name": "tensorflow/serving/predict",
    }
    assert inspected["signatures"].keys() == manifest["signatures"].keys()
    code, _, err = run("publish", out, tmp_path / "base" / "cnn", "--warmup", "1")
    assert code == 0, err
    ran = json.loads((tmp_path / "base/cnn/1/assets.extra/tfopt.json").read_text())["published"]["ran"]
    assert ran.keys() == {"saved_model", "tflite", "onnx"}


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"imgae": IMAGES}, "image"),
        ({"image": IMAGES[..., 0]}, "shape"),
        ({"image": (IMAGES * 255).astype(np.uint8)}, "uint8"),
        ({"image": IMAGES[:0]}, "not one sample"),
        ({"image": np.full_like(IMAGES, np.nan)}, "has nan at [0,0,0,0]"),
        ({"image": IMAGES[:1]}, "split"),
    ],
    ids=["name", "shape", "dtype", "none", "nan", "single"],
)
def test_bad_samples(run: Run, tmp_path: Path, arrays: dict[str, np.ndarray], expected: str) -> None:
    data = npz(tmp_path / "bad.npz", **arrays)
    code, out, err = run("compress", CNN, tmp_path / "out", "--data", data)
    assert code == 6
    assert expected in error_line(err)
    assert out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--signature", "serving_defualt"], 11, "did you mean serving_default?"),
        (["--recipe", "no-such"], 7, "no-such"),
        (["--labels", LABELS], 2, "--data"),
        (["--max-drop", "much"], 2, "max-drop"),
        (["--recipe", "exact", "--prune", "0.5"], 2, "--recipe"),
        (["--exclude", "*"], 2, "--prune"),
        (["--prune-scope", "global"], 2, "--prune-scope needs --prune"),
        (["--prune", "1.5"], 7, "1.5"),
        (["--prune", "half"], 2, "a share such as 0.5"),
        (["--prune", "4:2"], 7, "takes nothing away"),
        (["--prune-block", "4x1"], 2, "--prune-block needs --prune"),
        (["--seed", "-1"], 2, "--seed"),
        (["--save-recipe", LABELS], 9, "is there already"),
        (["--data", "missing.npz"], 6, "missing.npz"),
    ],
)
def test_bad_arguments(run: Run, tmp_path: Path, arguments: list[object], code: int, expected: str) -> None:
    got, out, err = run("compress", CNN, tmp_path / "out", *arguments)
    assert got == code, err
    assert expected in error_line(err)
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_an_output_that_exists_is_never_touched(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    code, _, err = run("compress", CNN, tmp_path / "out")
    assert code == 9
    assert "is there already" in error_line(err)
    assert tree(tmp_path / "out") == {"mine.txt": b"keep"}


def test_an_output_inside_the_model_is_refused(run: Run, tmp_path: Path, built: Callable[..., Path]) -> None:
    model = shutil.copytree(built(models.linear), tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run("compress", model, model / "small")
    assert code == 2
    assert "the output lies in the model" in error_line(err)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refused_result_leaves_no_parents_of_the_output(run: Run, tmp_path: Path, built: Callable[..., Path]) -> None:
    assert run("compress", built(models.linear), tmp_path / "a" / "b" / "out", "--prune", "0.99")[0] == 8
    assert not list(tmp_path.iterdir())


def test_a_seed_for_the_synthetic_samples_is_no_negative_number(tmp_path: Path, built: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="a seed is 0 or more, not -1"):
        tfopt.compress(built(models.linear), tmp_path / "out", seed=-1)


def test_outputs_without_a_number_are_json_too(run: Run, tmp_path: Path) -> None:
    """The logarithm of a negative number is NaN in the original as well."""
    module = tf.Module()
    signature = [models.floats(None, 3, name="x")]
    module.serve = tf.function(lambda x: {"y": tf.math.log(x)}, input_signature=signature)
    model = models.save(module, tmp_path / "model", serving_default=module.serve)
    code, out, err = run("compress", model, tmp_path / "out", "--json")
    assert code == 0, err
    assert [row["change"] for row in json.loads(out)["ledger"]] == [0.0] * len(json.loads(out)["ledger"])
    assert "Warning" not in err
    assert "left behind: loaded.serve(...)" in err


def test_the_model_s_own_warmup_requests_go_along(run: Run, tmp_path: Path, built: Callable[..., Path]) -> None:
    model = shutil.copytree(built(models.linear), tmp_path / "model")
    requests = [
        WarmupRequest("m", "serving_default", {"x": np.full((1, 3), number, np.float32)}) for number in range(4)
    ]
    write_warmup(model / WARMUP_PATH, requests)
    code, _, err = run("compress", model, tmp_path / "out")
    assert code == 0, err
    assert "4 examples of its own warmup requests" in err
    assert (tmp_path / "out" / WARMUP_PATH).read_bytes() == (model / WARMUP_PATH).read_bytes()
    assert WARMUP_PATH in json.loads((tmp_path / "out" / "assets.extra/tfopt.json").read_text())["files"]


def bad_model(tmp_path: Path, kind: str) -> Path:
    model = tmp_path / "bad"
    if kind == "missing":
        return model
    if kind == "file":
        model.write_bytes(b"no model")
        return model
    if kind == "empty":
        model.mkdir()
        return model
    shutil.copytree(CNN, model)
    if kind == "half":
        shutil.rmtree(model / "variables")
    elif kind == "garbage":
        (model / "saved_model.pb").write_bytes(b"\xff\x00garbage" * 100)
    elif kind == "truncated":
        data = next((model / "variables").glob("variables.data*"))
        data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    return model


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [("missing", 11), ("file", 3), ("empty", 3), ("half", 3), ("garbage", 3), ("truncated", 3)],
)
def test_bad_models(run: Run, tmp_path: Path, kind: str, exit_code: int) -> None:
    model = bad_model(tmp_path, kind)
    before = tree(model) if model.is_dir() else None
    code, out, err = run("compress", model, tmp_path / "out")
    assert code == exit_code, err
    assert str(model) in error_line(err)
    assert out == ""
    assert not (tmp_path / "out").exists()
    if before is not None:
        assert tree(model) == before


def test_samples_for_each_signature(run: Run, built: Callable[..., Path], tmp_path: Path) -> None:
    model = built(models.two_signatures)
    np.savez(tmp_path / "score.npz", x=np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32))
    (tmp_path / "feed.py").write_text(
        "import numpy as np\n\n\ndef feed():\n    for n in range(6):\n        yield {'x': np.full(5, n, np.float32)}\n"
    )
    out = tmp_path / "out"
    flags = ["--data", f"score={tmp_path}/score.npz", "--data", f"score={tmp_path}/feed.py:feed"]
    code, _, err = run("compress", model, out, *flags)
    assert code == 2
    assert "two sources of samples for the signature score" in err
    code, _, err = run("compress", model, out, *flags[:2])
    assert code == 0, err
    record = json.loads((out / "assets.extra" / "tfopt.json").read_text())["samples"]["signatures"]
    assert record["score"]["count"] == 9
    assert record["serving_default"]["source"] == "synthetic"


def test_layers_that_int8_harms_stay_float_and_the_ledger_says_which(tmp_path: Path, run: Run) -> None:
    harmful, out = tmp_path / "harmful", tmp_path / "out"
    write_saved_model(sabotaged(), harmful)
    arguments = ["compress", harmful, out, "--quantize", "int8", "--data", SAMPLES, "--max-drop", "2", "--json"]
    code, told, err = run(*arguments)
    assert code == 0, err
    assert f"quantize: 1 of 7 layers stay float, or the limits would not hold: {HARMED} (moves the outputs by" in err
    manifest = json.loads(told)
    row = next(row for row in manifest["ledger"] if row["step"] == "quantize")
    assert [entry["layer"] for entry in row["sensitivity"] if not entry["quantized"]] == [HARMED]
    assert row["sensitivity"][0]["layer"] == HARMED and len(row["sensitivity"]) == 7
    for artifact in manifest["artifacts"].values():
        assert artifact["fidelity"]["serving_default"]["agreement"] >= 0.98
