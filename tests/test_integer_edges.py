"""A version whose model.tflite takes int8 and gives uint8: proven, described, benched, published and served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import tfopt
from tests.conftest import Builder
from tfopt.cli.main import main
from tfopt.compression import Refused
from tfopt.errors import ExecutionError, InvalidRecipe
from tfopt.recipe import parse_recipe
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.serve.versions.engines import Engines
from tfopt.serve.versions.loading import load_version
from tfopt.store import read_manifest, write_manifest

DEMO = Path(__file__).parents[1] / "tfopt" / "demo"
KEY = "serving_default"
EDGES = "inference_input_type: int8, inference_output_type: uint8"
STEPS = f"name: edges\nsteps: [{{include: exact}}, smooth, quantize, {{tflite: {{precision: int8, {EDGES}}}}}]\n"


def edged(directory: Path) -> Path:
    """The bundled CNN. The decision gives its Softmax no grid."""
    tfopt.compress(
        DEMO / "fashion_cnn",
        directory,
        recipe=parse_recipe(STEPS, "test"),
        data=DEMO / "fashion_mnist.npz",
        labels=DEMO / "fashion_mnist_labels.npy",
        max_drop="1%",
    )
    return directory


@pytest.fixture
def version(built: Callable[[Builder], Path]) -> Path:
    return built(edged)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.load(DEMO / "fashion_mnist.npz")["image"][:64]


def of_levels(file: Path, images: np.ndarray) -> np.ndarray:
    """What LiteRT alone gives to somebody who knows of scales and zero points."""
    runner = Interpreter(str(file)).get_signature_runner(KEY)
    scale, zero = runner.get_input_details()["image"]["quantization"]
    steps, origin = runner.get_output_details()["probabilities"]["quantization"]
    levels = np.clip(np.rint(images / scale) + zero, -128, 127).astype(np.int8)
    given = runner(image=levels)["probabilities"]
    assert given.dtype == np.uint8
    return np.float32(steps) * (given.astype(np.float32) - origin)


def test_the_file_is_proven_in_real_numbers_and_the_manifest_says_what_goes_in(version: Path) -> None:
    manifest = read_manifest(version)
    assert manifest is not None
    saved_model, lite = (manifest.artifacts[kind] for kind in ("saved_model", "tflite"))
    assert "edges" not in saved_model
    edges = lite["edges"][KEY]
    assert edges["inputs"]["image"] == {"dtype": "int8", "scale": pytest.approx(1 / 255), "zero_point": -128}
    assert edges["outputs"]["probabilities"] == {"dtype": "uint8", "scale": 1 / 256, "zero_point": 0}
    assert manifest.signatures[KEY]["inputs"]["image"]["dtype"] == "float32"
    measured = lite["fidelity"][KEY]
    assert measured["accuracy_after"] >= measured["accuracy_before"] - 0.01
    assert measured["agreement"] >= 0.98


def test_inspect_tells_what_the_integers_stand_for(
    version: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["inspect", str(version / "model.tflite")]) == 0
    told = capfd.readouterr().out
    assert "int8[?,28,28,1] for 0.003921569 * (number + 128)" in told
    assert "uint8[?,10] for 0.00390625 * number" in told


def test_the_server_keeps_the_contract(version: Path, images: np.ndarray) -> None:
    with load_version(version, "litert", Engines(1)).runtime as served:
        assert str(served.signatures[KEY].inputs["image"].type) == "float32[?,28,28,1]"
        found = served.run(KEY, {"image": images})["probabilities"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, of_levels(version / "model.tflite", images), atol=1 / 256)
        with pytest.raises(ExecutionError, match="image holds NaN"):
            served.run(KEY, {"image": np.full_like(images, np.nan)})
    with tfopt.Server(f"m={version}", runtime="litert", port=0) as server, tfopt.Client(server.url) as client:
        np.testing.assert_allclose(client.predict("m", images), found, atol=1e-6)


def test_a_file_alone_is_served_as_it_is(version: Path, images: np.ndarray) -> None:
    """Under its own contract, as TensorFlow Serving does."""
    levels = (np.rint(images * 255) - 128).astype(np.int8)
    file = version / "model.tflite"
    with LiteRTRuntime(file) as alone:
        expected = alone.run(KEY, {"image": levels})["probabilities"]
    with tfopt.Server(f"m={file}", port=0) as server, tfopt.Client(server.url) as client:
        told = client.metadata("m")["metadata"]["signature_def"]["signature_def"][KEY]
        assert (told["inputs"]["image"]["dtype"], told["outputs"]["probabilities"]["dtype"]) == ("DT_INT8", "DT_UINT8")
        np.testing.assert_array_equal(client.predict("m", levels), expected)


def test_bench_puts_it_beside_the_floats(
    version: Path, images: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With real numbers for both; and alone, with those or with what they are rounded to."""
    np.savez(tmp_path / "reals.npz", image=images)
    np.savez(tmp_path / "levels.npz", image=(np.rint(images * 255) - 128).astype(np.int8))
    file = str(version / "model.tflite")
    quick = ["--seconds", "0.02", "--processes", "1", "--threads", "1", "--json"]
    assert main(["bench", str(version), "--data", str(tmp_path / "reals.npz"), "--no-footprint", *quick]) == 0
    both = json.loads(capfd.readouterr().out)["artifacts"]
    assert both[1]["difference"] < 0.1
    for data, extra in (("reals.npz", ["--profile"]), ("levels.npz", ["--no-footprint"])):
        assert main(["bench", file, file, "--data", str(tmp_path / data), *quick, *extra]) == 0
        first, second = json.loads(capfd.readouterr().out)["artifacts"]
        assert second["difference"] == 0
        assert (first["footprint"] is None) == (data == "levels.npz")


def test_it_is_published_with_the_contract_and_a_file_alone_with_its_own(version: Path, tmp_path: Path) -> None:
    """Also where its SavedModel has been left out."""
    shutil.copytree(version, tmp_path / "lite")
    shutil.rmtree(tmp_path / "lite" / "variables", ignore_errors=True)
    (tmp_path / "lite" / "saved_model.pb").unlink()
    manifest = read_manifest(version)
    assert manifest is not None
    write_manifest(tmp_path / "lite", manifest)
    samples = DEMO / "fashion_mnist.npz"
    whole = tfopt.publish(version, tmp_path / "a", data=samples, warmup=2)
    lite = tfopt.publish(tmp_path / "lite", tmp_path / "b", data=samples, warmup=2)
    alone = tfopt.publish(version / "model.tflite", tmp_path / "c", warmup=2)
    assert (whole.ran, lite.ran) == ({"saved_model": 4, "tflite": 4}, {"tflite": 4})
    assert [taken(each.path) for each in (whole, lite, alone)] == [("float32", None), ("float32", None), ("int8", -128)]


def taken(version: Path) -> tuple[str, int | None]:
    """What the manifest says that the published version takes."""
    manifest = read_manifest(version)
    assert manifest is not None
    image = manifest.signatures[KEY]["inputs"]["image"]
    return image["dtype"], image.get("zero_point")


def test_integers_that_lose_too_much_are_refused(tmp_path: Path) -> None:
    """The edges are judged, not only what is inside: an output of 8 bits cannot be as near as this."""
    text = "name: edges\nsteps: [{include: exact}, {tflite: {precision: int8, inference_output_type: int8}}]\n"
    with pytest.raises(Refused, match="tflite"):
        tfopt.compress(
            DEMO / "fashion_cnn",
            tmp_path / "out",
            recipe=parse_recipe(text, "test"),
            data=DEMO / "fashion_mnist.npz",
            min_cosine=0.9999999,
        )
    assert not (tmp_path / "out").exists()


def test_a_recipe_with_integers_that_do_not_fit_is_refused_by_line() -> None:
    with pytest.raises(InvalidRecipe, match=r"test:3: tflite: inference_input_type is int8, .* float16"):
        parse_recipe("name: x\nsteps:\n  - tflite: {precision: float16, inference_input_type: int8}\n", "test")
