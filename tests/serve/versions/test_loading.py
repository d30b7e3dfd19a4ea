"""Which artifact of a version serves, and what a version must prove before it does."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfopt
from tests import models
from tests.publishing import layers_onnx
from tests.serve.conftest import ask_at
from tfopt import requirements
from tfopt.errors import ExecutionError, InvalidModel, MissingExtra, NotFound, UnmetRequirement, UsageError
from tfopt.formats.saved_model import read_saved_model
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, write_warmup
from tfopt.runtimes.base import Runtime
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.load import open_artifact
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.serve.versions.artifacts import RuntimeChoice, candidates
from tfopt.serve.versions.engines import Engines
from tfopt.serve.versions.loading import load_version
from tfopt.store import MANIFEST_PATH, Manifest, read_manifest, write_manifest
from tfopt.targets.onnx import write_onnx

X = np.array([[1, 0, 0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, built: Callable[..., Path]) -> Path:
    """A version with both artifacts: `two_signatures`, and a .tflite that has one of its signatures only."""
    import tensorflow as tf

    directory = tmp_path_factory.mktemp("version") / "1"
    shutil.copytree(built(models.two_signatures), directory)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(directory), signature_keys=["score"])
    (directory / "model.tflite").write_bytes(converter.convert())
    return directory


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory, built: Callable[..., Path]) -> Path:
    """`two_signatures` as a directory of a .onnx file and what belongs to it."""
    directory = tmp_path_factory.mktemp("onnx")
    write_onnx(read_saved_model(built(models.two_signatures)), directory / "model.onnx")
    return directory


@pytest.fixture
def version(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "1")
    return tmp_path / "1"


def opened(path: Path, choice: RuntimeChoice) -> Runtime:
    return load_version(path, choice, Engines(1)).runtime


def signatures(version: Path) -> dict[str, object]:
    with TensorFlowRuntime(version) as runtime:
        return {key: info.as_dict() for key, info in runtime.signatures.items()}


def vouch(version: Path, *kinds: str, requires: tuple[str, ...] = ()) -> None:
    """Write a manifest that says these artifacts have passed the gate, and what the SavedModel requires."""
    artifacts = {kind: {"requires": requires} if kind == "saved_model" else {} for kind in kinds}
    write_manifest(version, Manifest({"signatures": signatures(version), "artifacts": artifacts}))


@pytest.fixture
def without_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a processor that has none."""
    (tmp_path / "cpuinfo").write_text("flags : fpu avx2")
    monkeypatch.setattr(requirements, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    requirements._x86_flags.cache_clear()
    yield
    requirements._x86_flags.cache_clear()


def test_litert_serves_what_the_manifest_vouches_for(version: Path) -> None:
    vouch(version, "saved_model", "tflite")
    with opened(version, "auto") as runtime, TensorFlowRuntime(version) as tensorflow:
        assert runtime.kind == "tflite"
        told, wanted = ({key: info.as_dict() for key, info in r.signatures.items()} for r in (runtime, tensorflow))
        assert told == wanted, "the contract is the SavedModel's"
        for key, inputs in (("score", {"x": X}), ("serving_default", {"x": X, "scale": np.float32(3)})):
            got, right = runtime.run(key, inputs), tensorflow.run(key, inputs)
            assert got.keys() == right.keys()
            for name in right:
                np.testing.assert_allclose(got[name], right[name], rtol=1e-5)


def test_without_a_savedmodel_only_the_signatures_of_the_tflite_are_served(version: Path) -> None:
    manifest = Manifest({"signatures": signatures(version), "artifacts": {"tflite": {}}})
    for name in ("saved_model.pb", "fingerprint.pb"):
        (version / name).unlink()
    shutil.rmtree(version / "variables")
    write_manifest(version, manifest)
    with opened(version, "auto") as runtime:
        assert list(runtime.signatures) == ["score"]


def test_a_tflite_that_nobody_has_compared_does_not_serve(version: Path) -> None:
    with opened(version, "auto") as runtime:
        assert runtime.kind == "saved_model"
    vouch(version, "saved_model")
    with opened(version, "auto") as runtime:
        assert runtime.kind == "saved_model"
    with pytest.raises(InvalidModel, match="has not passed the gate"):
        load_version(version, "litert", Engines(1))


def test_the_runtime_can_be_chosen(version: Path) -> None:
    with opened(version, "litert") as runtime:
        assert runtime.kind == "tflite"
    vouch(version, "saved_model", "tflite")
    with opened(version, "tensorflow") as runtime:
        assert runtime.kind == "saved_model"
    (version / "model.tflite").unlink()
    (version / MANIFEST_PATH).unlink()
    with pytest.raises(InvalidModel, match=r"model\.tflite is not there"):
        load_version(version, "litert", Engines(1))


def test_a_tflite_alone(lite: Path, tmp_path: Path) -> None:
    version = tmp_path / "1"
    version.mkdir()
    shutil.copy(lite, version / "model.tflite")
    for path in (version, lite):
        with opened(path, "auto") as runtime:
            assert runtime.kind == "tflite"
    with pytest.raises(InvalidModel, match="there is no SavedModel"):
        load_version(version, "tensorflow", Engines(1))


def test_onnx_runtime_serves_what_the_manifest_vouches_for(version: Path, onnx: Path) -> None:
    shutil.copytree(onnx, version, dirs_exist_ok=True)
    vouch(version, "saved_model", "onnx")
    with opened(version, "auto") as runtime, TensorFlowRuntime(version) as tensorflow:
        assert runtime.kind == "onnx"
        told, wanted = ({key: info.as_dict() for key, info in r.signatures.items()} for r in (runtime, tensorflow))
        assert told == wanted, "the contract is the SavedModel's"
        for key, inputs in (
            ("score", {"x": X}),
            ("serving_default", {"x": X}),
            ("serving_default", {"x": X, "scale": np.float32(3)}),
        ):
            got, right = runtime.run(key, inputs), tensorflow.run(key, inputs)
            assert got.keys() == right.keys()
            for name in right:
                np.testing.assert_allclose(got[name], right[name], rtol=1e-5)


def test_of_several_artifacts_litert_comes_first_and_tensorflow_last(version: Path, onnx: Path) -> None:
    shutil.copytree(onnx, version, dirs_exist_ok=True)

    def kind(choice: RuntimeChoice) -> str:
        with opened(version, choice) as runtime:
            return runtime.kind

    assert kind("auto") == "saved_model", "without a manifest nobody has compared them"
    vouch(version, "saved_model", "tflite", "onnx")
    choices: tuple[RuntimeChoice, ...] = ("auto", "litert", "onnxruntime", "tensorflow")
    assert [kind(choice) for choice in choices] == ["tflite", "tflite", "onnx", "saved_model"]
    vouch(version, "saved_model", "tflite")
    with pytest.raises(InvalidModel, match=r"model\.onnx has not passed the gate"):
        kind("onnxruntime")
    (version / MANIFEST_PATH).unlink()
    (version / "model.onnx").unlink()
    with pytest.raises(InvalidModel, match=r"model\.onnx is not there"):
        kind("onnxruntime")


def test_a_onnx_alone(onnx: Path) -> None:
    for path in (onnx, onnx / "model.onnx"):
        with opened(path, "auto") as runtime:
            assert runtime.kind == "onnx"
            assert set(runtime.signatures) == {"serving_default", "score"}
    with pytest.raises(InvalidModel, match="there is no SavedModel"):
        load_version(onnx, "tensorflow", Engines(1))


def test_a_published_onnx_is_served_over_rest(built: Callable[..., Path], tmp_path: Path) -> None:
    base = tmp_path / "layers"
    tfopt.publish(built(layers_onnx) / "layers.onnx", base, label="stable")
    with tfopt.Server(base, port=0, poll_interval=0.05) as server, tfopt.Client(server.url) as client:
        (entry,) = ask_at(server.url, "GET", "/tfopt/v1/models").json["models"][0]["versions"]
        assert (entry["version"], entry["artifact"]) == (1, "onnx")
        told = client.metadata("layers")["metadata"]["signature_def"]["signature_def"]
        assert told["by_id"]["inputs"]["ids"]["dtype"] == "DT_INT32"
        assert told["by_id"]["inputs"]["ids"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
        by_label = client.predict("layers", [3, 0], signature="by_id", label="stable")
        with open_artifact(base / "1" / "model.onnx") as runtime:
            expected = runtime.run("by_id", {"ids": np.array([3, 0], np.int32)})
        for name, array in expected.items():
            np.testing.assert_allclose(by_label[name], array, rtol=1e-5)
        assert tfopt.publish(base / "1", base).number == 2
        deadline = time.monotonic() + 20
        while server.models["layers"].snapshot.latest != 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        np.testing.assert_allclose(client.predict("layers", [3, 0], signature="by_id", version=2)["y"], expected["y"])


def test_a_runtime_that_is_not_installed_is_named(onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError(name='onnxruntime')")
    command = [sys.executable, "-m", "tfopt", "serve", str(onnx / "model.onnx"), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == MissingExtra.exit_code
    assert done.stderr.splitlines()[-1] == (
        "tfopt: running a .onnx file needs the package onnxruntime; pip install 'tfopt[onnx]'"
    )


def test_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="there is no SavedModel"):
        load_version(tmp_path, "auto", Engines(1))


@pytest.mark.parametrize("name", ["model.tflite", "variables/variables.index"])
def test_files_are_held_against_the_manifest(version: Path, name: str) -> None:
    vouch(version, "saved_model", "tflite")
    content = bytearray((version / name).read_bytes())
    content[len(content) // 2] ^= 1
    (version / name).write_bytes(content)
    with pytest.raises(InvalidModel, match="sha256 differs"):
        load_version(version, "auto", Engines(1))
    (version / name).unlink()
    with pytest.raises(InvalidModel, match="missing"):
        load_version(version, "auto", Engines(1))


WHY = "it requires VNNI, and this processor has none"


def test_the_preferred_runtime_needs_no_manifest(version: Path) -> None:
    for prefer, kind in ((None, "saved_model"), ("litert", "tflite"), ("onnxruntime", "saved_model")):
        (found,) = candidates(version, None, "auto", prefer)  # type: ignore[arg-type]  # a literal, through a tuple
        assert found.kind == kind


def test_the_preferred_runtime_is_tried_first(version: Path) -> None:
    vouch(version, "saved_model", "tflite", requires=("oneDNN",))
    for prefer, kind in (
        (None, "tflite"),
        ("litert", "tflite"),
        ("onnxruntime", "tflite"),
        ("tensorflow", "saved_model"),
    ):
        loaded = load_version(version, "auto", Engines(1), prefer)  # type: ignore[arg-type]  # a literal, through a tuple
        with loaded.runtime as runtime:
            assert (runtime.kind, loaded.unmet) == (kind, {})


@pytest.mark.parametrize(
    ("seconds", "first"),
    [
        ({}, "tflite"),
        ({"tflite": 1.0, "saved_model": 1.0}, "tflite"),
        ({"tflite": 1.0, "saved_model": 0.95}, "tflite"),  # not surely faster
        ({"tflite": 1.0, "saved_model": 0.8}, "saved_model"),
        ({"saved_model": 0.8}, "saved_model"),
        ({"tflite": True, "saved_model": "fast"}, "tflite"),  # no figures
    ],
)
def test_what_was_surely_faster_when_it_was_published_serves(
    version: Path, seconds: dict[str, object], first: str
) -> None:
    vouch(version, "saved_model", "tflite")
    manifest = (read_manifest(version) or Manifest()).with_entries(published={"seconds": seconds})
    assert candidates(version, manifest, "auto")[0].kind == first
    assert candidates(version, manifest, "auto", "litert")[0].kind == "tflite"
    assert len(candidates(version, manifest, "auto")) == 2


@pytest.mark.usefixtures("without_vnni")
def test_a_file_that_lacks_signatures_does_not_stand_in(version: Path, onnx: Path) -> None:
    vouch(version, "saved_model", "tflite", requires=("oneDNN", "VNNI"))
    with pytest.raises(UnmetRequirement) as caught:
        load_version(version, "auto", Engines(1))
    lacking = "the signatures that model.tflite lacks (serving_default) are the SavedModel's to run"
    assert (
        caught.value.what
        == f"cannot be served on this machine: model.tflite: {lacking}, and {WHY}; the SavedModel: {WHY}"
    )
    shutil.copytree(onnx, version, dirs_exist_ok=True)
    vouch(version, "saved_model", "tflite", "onnx", requires=("oneDNN", "VNNI"))
    loaded = load_version(version, "auto", Engines(1), "tensorflow")
    with loaded.runtime as runtime:
        assert (runtime.kind, set(runtime.signatures)) == ("onnx", {"score", "serving_default"})
    assert loaded.unmet == {"saved_model": WHY, "tflite": f"{lacking}, and {WHY}"}


@pytest.mark.usefixtures("without_vnni")
def test_a_file_that_is_asked_for_serves_what_it_has(version: Path) -> None:
    write_warmup(version / WARMUP_PATH, [WarmupRequest("m", key, {"x": X}) for key in ("score", "serving_default")])
    vouch(version, "saved_model", "tflite", requires=("oneDNN", "VNNI"))
    loaded = load_version(version, "litert", Engines(1))
    with loaded.runtime as runtime:
        assert list(runtime.signatures) == ["score"]
        assert runtime.run("score", {"x": X})["score"].shape == (1, 1)
        with pytest.raises(NotFound):
            runtime.run("serving_default", {"x": X})
    left = "the signatures that model.tflite lacks (serving_default) are not served"
    assert loaded.unmet == {"saved_model": f"{WHY}; {left}"}


@pytest.mark.usefixtures("without_vnni")
def test_the_version_before_serves_when_no_artifact_of_a_new_one_runs(version: Path, tmp_path: Path) -> None:
    vouch(version, "saved_model")
    base = tmp_path / "m"
    shutil.copytree(version, base / "1")
    (version / "model.tflite").unlink()
    vouch(version, "saved_model", requires=("oneDNN", "VNNI"))
    shutil.copytree(version, base / "2")
    with tfopt.Server(base, port=0, poll_interval=0.05) as server:
        newest, before = ask_at(server.url, "GET", "/tfopt/v1/models").json["models"][0]["versions"]
        assert (before["state"], before["artifact"]) == ("AVAILABLE", "saved_model")
        assert newest["state"] == "END" and f"the SavedModel: {WHY}" in newest["error"]
        status = ask_at(server.url, "GET", "/v1/models/m/versions/2").json["model_version_status"][0]
        assert status["status"]["error_code"] == "FAILED_PRECONDITION"
        asked = {"signature_name": "score", "instances": X.tolist()}
        assert ask_at(server.url, "POST", "/v1/models/m:predict", asked).status == 200


def test_a_tflite_serves_with_the_defaults_of_the_savedmodel(built: Callable[..., Path], tmp_path: Path) -> None:
    import tensorflow as tf

    version = tmp_path / "1"
    shutil.copytree(built(models.two_signatures), version)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(version), signature_keys=["serving_default"])
    (version / "model.tflite").write_bytes(converter.convert())
    vouch(version, "saved_model", "tflite")
    with opened(version, "auto") as runtime, TensorFlowRuntime(version) as tensorflow:
        assert runtime.kind == "tflite"
        got, right = (each.run("serving_default", {"x": X}) for each in (runtime, tensorflow))
    for name in right:
        np.testing.assert_allclose(got[name], right[name], rtol=1e-5)


def test_signatures_that_make_no_sense_in_a_manifest(version: Path) -> None:
    write_manifest(version, Manifest({"signatures": {"score": {"inputs": 3}}, "artifacts": {"tflite": {}}}))
    with pytest.raises(InvalidModel, match="signatures in the manifest"):
        load_version(version, "auto", Engines(1))


def test_warmup_requests_are_replayed(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_warmup(version / WARMUP_PATH, [WarmupRequest("m", "score", {"x": X})] * 3)
    vouch(version, "saved_model", "tflite")
    seen: list[str] = []
    run = LiteRTRuntime.run

    def counted(
        self: LiteRTRuntime, signature: str, inputs: dict[str, np.ndarray], **how: Any
    ) -> dict[str, np.ndarray]:
        seen.append(signature)
        return run(self, signature, inputs, **how)

    monkeypatch.setattr(LiteRTRuntime, "run", counted)
    opened(version, "auto").close()
    assert seen == ["score"] * 3


def test_a_version_whose_warmup_fails_is_not_served(version: Path) -> None:
    write_warmup(version / WARMUP_PATH, [WarmupRequest("m", "score", {"x": X[:, :2]})])
    vouch(version, "saved_model", "tflite")
    with pytest.raises(InvalidModel, match="warmup request 0 fails"):
        load_version(version, "auto", Engines(1))


def test_a_lone_file_takes_what_its_kernels_take(tmp_path: Path, lite: Path) -> None:
    """TensorFlow Serving resizes inputs to what came; under a contract the file takes what it was tried with."""
    x = np.ones((1, 2, 3), np.float32)
    with load_version(lite, "auto", Engines(1)).runtime as free:
        # LiteRT's fully connected layer takes all but the last axis for one.
        assert free.run("serving_default", {"x": x})["y"].shape == (2, 2)
    with LiteRTRuntime(lite) as strict, pytest.raises(ExecutionError, match=r"takes float32\[\?,3\]"):
        strict.run("serving_default", {"x": x})


def test_engines_are_opened_as_told(tmp_path: Path, built: Callable[..., Path]) -> None:
    config = tmp_path / "session.txt"
    config.write_text("inter_op_parallelism_threads: 7 allow_soft_placement: true")
    with load_version(built(models.linear), "auto", Engines(1, session_config=config, intra_op=3)).runtime as runtime:
        made = runtime._session._config  # type: ignore[attr-defined]
        assert (made.intra_op_parallelism_threads, made.inter_op_parallelism_threads) == (3, 1)
        assert made.allow_soft_placement
    config.write_text("no such field: 1")
    with pytest.raises(UsageError, match="is no ConfigProto as text"):
        load_version(built(models.linear), "auto", Engines(1, session_config=config))
    with pytest.raises(InvalidModel, match="train"):
        load_version(built(models.linear), "auto", Engines(1, tags=("train",)))
