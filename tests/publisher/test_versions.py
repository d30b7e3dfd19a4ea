"""Publishing real models: each is loaded and run in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.publishing import layers_onnx, linear_onnx, refused, snapshot
from tfopt.errors import (
    InvalidSamples,
    NotFound,
    UsageError,
)
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, read_warmup, write_warmup
from tfopt.publisher import publish
from tfopt.runtimes.base import SignatureInfo
from tfopt.runtimes.load import open_artifact
from tfopt.store import Manifest, Store, joint_digest, read_manifest, verify_files, write_manifest

Built = Callable[[Callable[[Path], Path]], Path]


def requests_of(version: Path) -> list[WarmupRequest]:
    return read_warmup(version / WARMUP_PATH)


def test_a_saved_model_becomes_a_version_with_warmup_requests_from_the_data(
    built: Built, base: Path, data: Path
) -> None:
    source = built(models.linear)
    before = snapshot(source)
    done = publish(source, base, data=data, warmup=3)
    assert snapshot(source) == before
    assert (done.number, done.path, done.name) == (1, base / "1", "linear")
    assert (done.samples, done.ran, done.notes) == ("data", {"saved_model": 3}, ())
    requests = requests_of(done.path)
    assert [request.model_name for request in requests] == ["linear"] * 3
    np.testing.assert_array_equal(np.concatenate([r.inputs["x"] for r in requests]), models.weights(20, 3)[:3])
    manifest = verify_files(done.path)
    assert manifest is not None
    assert WARMUP_PATH in manifest.files
    assert manifest.source["name"] == source.name
    artifact = manifest.artifacts["saved_model"]
    assert artifact["requires"] == []
    names = [name for name in manifest.files if name.startswith(("saved_model.pb", "variables/"))]
    assert artifact["digest"] == joint_digest({name: manifest.files[name] for name in names})
    with open_artifact(done.path) as runtime:
        told = {key: SignatureInfo.from_dict(info) for key, info in manifest.signatures.items()}
        assert told == dict(runtime.signatures)
        assert runtime.run("serving_default", requests[0].inputs)["y"].shape == (1, 2)


def test_every_artifact_of_a_version_answers_every_request(both: Path, base: Path, data: Path) -> None:
    done = publish(both, base, data=data, warmup=4)
    assert done.ran == {"saved_model": 4, "tflite": 4}
    manifest = verify_files(done.path)
    assert manifest is not None
    assert manifest.data["recipe"] == "name: x"
    assert manifest.artifacts == {"saved_model": {}, "tflite": {"bytes": 1}}
    assert manifest.data["published"]["ran"] == done.ran
    seconds = manifest.data["published"]["seconds"]
    assert seconds.keys() == {"saved_model", "tflite"} and all(0 < each < 1 for each in seconds.values())
    again = publish(done.path, base)
    assert (again.number, again.samples, again.ran) == (2, "warmup", done.ran)


def test_without_data_strings_and_several_signatures_are_run_on_random_values(built: Built, base: Path) -> None:
    done = publish(built(models.table), base)
    assert done.samples == "synthetic"
    assert done.ran == {"saved_model": 2}
    assert {request.signature for request in requests_of(done.path)} == {"serving_default", "weights"}
    assert (done.path / "assets").is_dir()


def test_inputs_with_defaults_may_be_missing_from_the_data(built: Built, base: Path, data: Path) -> None:
    with open_artifact(built(models.two_signatures)) as runtime:
        width = runtime.signatures["serving_default"].inputs["x"].type.shape.dims
    assert width is not None
    np.savez(data, x=models.weights(2, *(dim or 1 for dim in width[1:])))
    done = publish(built(models.two_signatures), base, data=data)
    assert {request.signature for request in requests_of(done.path)} == {"serving_default", "score"}


FEED = """
import os

def rows():
    with open("rows.txt") as file:
        for line in file:
            yield {"x": [float(word) * float(os.environ["FACTOR"]) for word in line.split()]}
"""


def test_samples_come_from_wherever_compress_takes_them(
    tflite: Path, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function finds the directory and the environment in which publish was called; the model does not."""
    (tmp_path / "feed.py").write_text(FEED)
    (tmp_path / "rows.txt").write_text("1 2 3\n4 5 6\n7 8 nan\n")
    write_warmup(tmp_path / "recorded", [WarmupRequest("m", "serving_default", {"x": models.weights(4, 3)})])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTOR", "2")
    done = publish(tflite, base, data="feed.py:rows", warmup=2)
    assert [request.inputs["x"].tolist() for request in requests_of(done.path)] == [[[2, 4, 6]], [[8, 10, 12]]]
    assert publish(tflite, base, data="recorded,limit=3").ran == {"tflite": 3}
    assert publish(tflite, base, data={"serving_default": "samples.npz"}, warmup=5).ran == {"tflite": 5}
    refused(InvalidSamples, r"feed.py:rows: .*\[2,2\]", tflite, base, data="feed.py:rows", warmup=3)
    refused(InvalidSamples, "feed.py:row.*did you mean rows", tflite, base, data="feed.py:row")
    monkeypatch.delenv("FACTOR")
    refused(InvalidSamples, "KeyError: 'FACTOR'", tflite, base, data="feed.py:rows")


def test_each_signature_may_have_samples_of_its_own(built: Built, base: Path, tmp_path: Path) -> None:
    model, ids, x = built(layers_onnx) / "layers.onnx", tmp_path / "ids.npy", tmp_path / "x.npz"
    np.save(ids, np.arange(5, dtype=np.int64))
    np.savez(x, x=models.weights(9, 8))

    def asked(*data: str) -> list[str]:
        return [request.signature for request in requests_of(publish(model, base, data=data, warmup=2).path)]

    assert asked(f"by_id={ids},limit=1", f"serving_default={x}") == ["by_id", "serving_default", "serving_default"]
    assert asked(f"by_id={ids}", str(x)) == ["by_id", "by_id", "serving_default", "serving_default"]
    one = publish(model, base, data=[f"by_id={ids}"])
    assert one.notes == ("signature serving_default was not tried: it was given no samples",)
    refused(InvalidSamples, "no input called 'x'", model, base, data=[f"by_id={x}", str(x)])
    refused(NotFound, "no signature by_ids.*did you mean by_id", model, base, data=[f"by_ids={ids}"])
    refused(UsageError, "two sources of samples for the signature by_id", model, base, data=[f"by_id={ids}"] * 2)


def test_a_tflite_file_becomes_a_version(tflite: Path, base: Path) -> None:
    done = publish(tflite, base)
    assert (done.number, done.ran, done.samples) == (1, {"tflite": 1}, "synthetic")
    assert (done.path / "model.tflite").read_bytes() == tflite.read_bytes()
    manifest = read_manifest(done.path)
    assert manifest is not None
    assert list(manifest.artifacts) == ["tflite"]


def test_a_onnx_file_becomes_a_version(built: Built, base: Path, data: Path) -> None:
    source = built(linear_onnx) / "linear.onnx"
    done = publish(source, base, data=data, warmup=3)
    assert (done.number, done.ran, done.samples) == (1, {"onnx": 3}, "data")
    assert (done.path / "model.onnx").read_bytes() == source.read_bytes()
    manifest = verify_files(done.path)
    assert manifest is not None
    assert {kind: artifact["path"] for kind, artifact in manifest.artifacts.items()} == {"onnx": "model.onnx"}
    assert list(manifest.signatures) == ["serving_default"]
    again = publish(done.path, base)
    assert (again.number, again.samples, again.ran) == (2, "warmup", {"onnx": 3})


def test_the_files_beside_a_onnx_file_go_along(built: Built, base: Path) -> None:
    directory = built(layers_onnx)
    done = publish(directory / "layers.onnx", base)
    beside = ["layers.onnx.data", "layers.serving_default.onnx"]
    assert sorted(path.name for path in done.path.iterdir()) == ["assets.extra", *beside, "model.onnx"]
    manifest = read_manifest(done.path)
    assert manifest is not None
    files = {name: digest for name, digest in manifest.files.items() if name in (*beside, "model.onnx")}
    assert manifest.artifacts["onnx"]["digest"] == joint_digest(files)
    assert manifest.artifacts["onnx"]["bytes"] == sum(f.stat().st_size for f in directory.iterdir())
    assert {request.signature for request in requests_of(done.path)} == {"by_id", "serving_default"}
    with open_artifact(done.path / "model.onnx") as runtime:
        assert set(runtime.signatures) == {"by_id", "serving_default"}


def test_every_kind_of_artifact_is_rehearsed(both: Path, built: Built, base: Path, data: Path) -> None:
    shutil.copy(built(linear_onnx) / "linear.onnx", both / "model.onnx")
    write_manifest(both, Manifest({"artifacts": {"saved_model": {}, "tflite": {}, "onnx": {}}}))
    assert publish(both, base, data=data, warmup=2).ran == {"saved_model": 2, "tflite": 2, "onnx": 2}


def test_a_tflite_of_unknown_origin_beside_a_saved_model_is_run_but_not_offered(both: Path, base: Path) -> None:
    shutil.rmtree(both / "assets.extra")
    done = publish(both, base)
    assert done.ran == {"saved_model": 1, "tflite": 1}
    manifest = read_manifest(done.path)
    assert manifest is not None
    assert list(manifest.artifacts) == ["saved_model"]


def test_no_warmup_requests_are_written_when_none_are_wanted(tflite: Path, base: Path) -> None:
    done = publish(tflite, base, warmup=0)
    assert done.ran == {"tflite": 1}
    assert not (done.path / WARMUP_PATH).exists()


def test_name_hold_and_label(tflite: Path, tmp_path: Path) -> None:
    first = publish(tflite, tmp_path / "models", name="m", label="stable")
    second = publish(tflite, tmp_path / "models", name="m", hold=True)
    assert (first.path, second.path) == (tmp_path / "models" / "m" / "1", tmp_path / "models" / "m" / "2.held")
    store = Store(tmp_path / "models" / "m")
    assert (store.latest(), dict(store.labels())) == (1, {"stable": 1})
