"""Which artifact of a version serves, and what a version must prove before it does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tfopt.errors import InvalidModel
from tfopt.formats.warmup import WARMUP_PATH, WarmupRequest, write_warmup
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.serve.loading import load_version
from tfopt.store import MANIFEST_PATH, Manifest, write_manifest

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


@pytest.fixture
def version(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "1")
    return tmp_path / "1"


def signatures(version: Path) -> dict[str, object]:
    with TensorFlowRuntime(version) as runtime:
        return {key: info.as_dict() for key, info in runtime.signatures.items()}


def vouch(version: Path, *kinds: str) -> None:
    """Write a manifest that says these artifacts have passed the gate."""
    write_manifest(version, Manifest({"signatures": signatures(version), "artifacts": {kind: {} for kind in kinds}}))


def test_litert_serves_what_the_manifest_vouches_for(version: Path) -> None:
    vouch(version, "saved_model", "tflite")
    with load_version(version, "auto", 1) as runtime, TensorFlowRuntime(version) as tensorflow:
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
    with load_version(version, "auto", 1) as runtime:
        assert list(runtime.signatures) == ["score"]


def test_a_tflite_that_nobody_has_compared_does_not_serve(version: Path) -> None:
    with load_version(version, "auto", 1) as runtime:
        assert runtime.kind == "saved_model"
    vouch(version, "saved_model")
    with load_version(version, "auto", 1) as runtime:
        assert runtime.kind == "saved_model"
    with pytest.raises(InvalidModel, match="has not passed the gate"):
        load_version(version, "litert", 1)


def test_the_runtime_can_be_chosen(version: Path) -> None:
    with load_version(version, "litert", 1) as runtime:
        assert runtime.kind == "tflite"
    vouch(version, "saved_model", "tflite")
    with load_version(version, "tensorflow", 1) as runtime:
        assert runtime.kind == "saved_model"
    (version / "model.tflite").unlink()
    (version / MANIFEST_PATH).unlink()
    with pytest.raises(InvalidModel, match=r"model\.tflite is not there"):
        load_version(version, "litert", 1)


def test_a_tflite_alone(lite: Path, tmp_path: Path) -> None:
    version = tmp_path / "1"
    version.mkdir()
    shutil.copy(lite, version / "model.tflite")
    for path in (version, lite):
        with load_version(path, "auto", 1) as runtime:
            assert runtime.kind == "tflite"
    with pytest.raises(InvalidModel, match="there is no SavedModel"):
        load_version(version, "tensorflow", 1)


def test_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="there is no SavedModel"):
        load_version(tmp_path, "auto", 1)


@pytest.mark.parametrize("name", ["model.tflite", "variables/variables.index"])
def test_files_are_held_against_the_manifest(version: Path, name: str) -> None:
    vouch(version, "saved_model", "tflite")
    content = bytearray((version / name).read_bytes())
    content[len(content) // 2] ^= 1
    (version / name).write_bytes(content)
    with pytest.raises(InvalidModel, match="sha256 differs"):
        load_version(version, "auto", 1)
    (version / name).unlink()
    with pytest.raises(InvalidModel, match="missing"):
        load_version(version, "auto", 1)


def test_signatures_that_make_no_sense_in_a_manifest(version: Path) -> None:
    write_manifest(version, Manifest({"signatures": {"score": {"inputs": 3}}, "artifacts": {"tflite": {}}}))
    with pytest.raises(InvalidModel, match="signatures in the manifest"):
        load_version(version, "auto", 1)


def test_warmup_requests_are_replayed(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_warmup(version / WARMUP_PATH, [WarmupRequest("m", "score", {"x": X})] * 3)
    vouch(version, "saved_model", "tflite")
    seen: list[str] = []
    run = LiteRTRuntime.run

    def counted(self: LiteRTRuntime, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(signature)
        return run(self, signature, inputs)

    monkeypatch.setattr(LiteRTRuntime, "run", counted)
    load_version(version, "auto", 1).close()
    assert seen == ["score"] * 3


def test_a_version_whose_warmup_fails_is_not_served(version: Path) -> None:
    write_warmup(version / WARMUP_PATH, [WarmupRequest("m", "score", {"x": X[:, :2]})])
    vouch(version, "saved_model", "tflite")
    with pytest.raises(InvalidModel, match="warmup request 0 fails"):
        load_version(version, "auto", 1)
