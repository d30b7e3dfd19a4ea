"""Publishing real models: each is loaded and run in a process of its own, or nothing is left of it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.publishing import child_of, is_running, layers_onnx, linear_onnx, linear_tflite, snapshot, start_publish
from tfopt.errors import (
    FidelityError,
    InvalidModel,
    InvalidSamples,
    MissingExtra,
    NotFound,
    OutputError,
    TfoptError,
    UnsafeModel,
    UsageError,
)
from tfopt.formats.warmup import WARMUP_PATH, WarmupRequest, read_warmup, write_warmup
from tfopt.publisher import publish
from tfopt.runtimes.base import SignatureInfo
from tfopt.runtimes.load import open_artifact
from tfopt.store import MANIFEST_PATH, Manifest, Store, joint_digest, read_manifest, verify_files, write_manifest

Built = Callable[[Callable[[Path], Path]], Path]


@pytest.fixture(scope="session")
def tflite(built: Built) -> Path:
    return built(linear_tflite) / "linear.tflite"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "models" / "linear"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "samples.npz", x=models.weights(20, 3))
    return tmp_path / "samples.npz"


@pytest.fixture
def both(built: Built, tflite: Path, tmp_path: Path) -> Path:
    """A version as `compress` leaves it: two artifacts and a manifest that lists them."""
    directory = tmp_path / "both"
    shutil.copytree(built(models.linear), directory)
    shutil.copy(tflite, directory / "model.tflite")
    write_manifest(directory, Manifest({"recipe": "name: x", "artifacts": {"saved_model": {}, "tflite": {"bytes": 1}}}))
    return directory


def requests_of(version: Path) -> list[WarmupRequest]:
    return read_warmup(version / WARMUP_PATH)


# -- what is published --------------------------------------------------------------------------------------------


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


# -- what is refused, and leaves nothing --------------------------------------------------------------------------


def refused(kind: type[TfoptError], match: str, model: Path, base: Path, **options: object) -> None:
    before = sorted(base.parent.rglob("*")) if base.parent.exists() else None
    with pytest.raises(kind, match=match):
        publish(model, base, **options)  # type: ignore[arg-type]  # options differ by test
    assert (sorted(base.parent.rglob("*")) if base.parent.exists() else None) == before


@pytest.fixture
def version(tflite: Path, tmp_path: Path) -> Path:
    """A directory with only a model.tflite."""
    (tmp_path / "version").mkdir()
    shutil.copy(tflite, tmp_path / "version" / "model.tflite")
    return tmp_path / "version"


def test_what_is_no_model_is_refused(tmp_path: Path, base: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.keras").touch()
    (tmp_path / "versions" / "3").mkdir(parents=True)
    refused(NotFound, "nowhere", tmp_path / "nowhere", base)
    refused(InvalidModel, "SavedModel directory", tmp_path / "empty", base)
    refused(InvalidModel, "SavedModel directory", tmp_path / "model.keras", base)
    refused(InvalidModel, r"give one: .*versions/3", tmp_path / "versions", base)


def test_half_a_saved_model_is_refused(built: Built, tmp_path: Path, base: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(built(models.linear), half)
    (half / "variables" / "variables.data-00000-of-00001").unlink()
    refused(InvalidModel, r"half: .*variables", half, base)


def test_a_damaged_tflite_is_refused(version: Path, base: Path) -> None:
    content = (version / "model.tflite").read_bytes()
    (version / "model.tflite").write_bytes(content[: len(content) // 2])
    refused(InvalidModel, r"version.*model\.tflite", version, base)


def test_a_damaged_onnx_is_refused(built: Built, tmp_path: Path, base: Path) -> None:
    for name in ("layers.onnx", "layers.onnx.data"):
        directory = tmp_path / name
        shutil.copytree(built(layers_onnx), directory)
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[: len(content) // 2])
        refused(
            InvalidModel,
            r"(layers|model)\.onnx: (is no ONNX file|ONNX Runtime cannot)",
            directory / "layers.onnx",
            base,
        )
        (directory / name).unlink()
        refused(
            TfoptError, f"{name}.*(cannot be read: No such file|there is no such file)", directory / "layers.onnx", base
        )


def test_a_file_that_is_not_what_the_manifest_says_is_refused(version: Path, base: Path) -> None:
    (version / "assets").mkdir()
    (version / "assets" / "words.txt").write_text("one")
    write_manifest(version, Manifest())
    (version / "assets" / "words.txt").write_text("two")
    refused(InvalidModel, r"words\.txt.*sha256", version, base)


def test_artifacts_that_answer_in_different_forms_are_refused(
    built: Built, tflite: Path, tmp_path: Path, base: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(built(models.linear), other)
    import tensorflow as tf

    @tf.function(input_signature=[models.floats(None, 3, name="x")])
    def wider(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.concat([x, x], 1)}

    module = tf.Module()
    module.wider = wider
    models.save(module, tmp_path / "wide", serving_default=wider)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "wide"))
    (other / "model.tflite").write_bytes(converter.convert())
    refused(
        FidelityError,
        r"model\.tflite answers with y float32\[1, 6\], the SavedModel with y float32\[1, 2\]",
        other,
        base,
    )


def test_samples_that_do_not_fit_are_refused(tflite: Path, tmp_path: Path, base: Path) -> None:
    np.savez(tmp_path / "names.npz", z=models.weights(2, 3))
    np.savez(tmp_path / "nan.npz", x=np.full((2, 3), np.nan, np.float32))
    refused(InvalidSamples, "no input called 'z'", tflite, base, data=tmp_path / "names.npz")
    refused(InvalidSamples, r"has nan at \[0,0\]", tflite, base, data=tmp_path / "nan.npz")
    refused(InvalidSamples, "nowhere.npz: no such file", tflite, base, data=tmp_path / "nowhere.npz")


def test_a_warmup_request_that_fails_is_refused(version: Path, base: Path) -> None:
    good = {"x": models.weights(1, 3)}
    bad = {"x": models.weights(1, 4)}
    write_warmup(version / WARMUP_PATH, [WarmupRequest("m", "serving_default", i) for i in (good, bad)])
    refused(InvalidModel, "serving_default fails on warmup request 2", version, base)


def test_a_model_that_runs_on_no_random_numbers_asks_for_samples(tmp_path: Path, base: Path) -> None:
    """It takes numbers as text, and random text is words."""
    module = tf.Module()
    signature = [tf.TensorSpec([None], tf.string, "text")]
    module.parse = tf.function(lambda text: {"number": tf.strings.to_number(text)}, input_signature=signature)
    model = models.save(module, tmp_path / "parse", serving_default=module.parse)
    refused(InvalidSamples, r"give samples of your own with --data", model, base)


def test_a_model_that_would_read_files_is_refused(built: Built, base: Path) -> None:
    refused(UnsafeModel, "signature serving_default reaches ReadFile", built(models.reads_file), base)


def test_a_model_that_takes_too_long_is_refused(tflite: Path, base: Path) -> None:
    refused(InvalidModel, r"within 0\.05 seconds", tflite, base, timeout=0.05)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"warmup": 1001}, "1000"),
        ({"warmup": -1}, "1000"),
        ({"hold": True, "label": "stable"}, "held"),
        ({"label": "a:b"}, "label"),
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(
    tflite: Path, base: Path, options: dict[str, object], match: str
) -> None:
    refused(UsageError, match, tflite, base, **options)


def test_a_place_that_is_no_base_path_is_refused(version: Path, tflite: Path, tmp_path: Path) -> None:
    (tmp_path / "models" / "cnn" / "1").mkdir(parents=True)
    refused(UsageError, "holds models", tflite, tmp_path / "models")
    refused(UsageError, r"give .*models/cnn", tflite, tmp_path / "models" / "cnn" / "2")
    refused(UsageError, "is a model", tflite, version)
    refused(UsageError, "lies in the model", version, version / "serving")


# -- processes ----------------------------------------------------------------------------------------------------


def test_publishers_side_by_side_get_different_numbers(tflite: Path, base: Path) -> None:
    processes = [start_publish(tflite, base) for _ in range(4)]
    for process in processes:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    assert [entry.number for entry in Store(base).versions()] == [1, 2, 3, 4]
    assert list((base / ".tfopt" / "staging").iterdir()) == []


def test_ctrl_c_at_any_moment_leaves_nothing_that_is_not_swept(tflite: Path, base: Path) -> None:
    moments = random.Random(3)
    published = 0
    for _ in range(12):
        process = start_publish(tflite, base)
        time.sleep(moments.uniform(0.1, 1.2))
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        versions = Store(base).versions() if base.exists() else []
        assert process.returncode in (0, 130, -signal.SIGINT), stderr
        assert len(versions) in (published, published + 1)
        published = len(versions)
        for entry in versions:
            assert verify_files(entry.path) is not None
    assert publish(tflite, base).number >= published + 1
    assert list((base / ".tfopt" / "staging").iterdir()) == []


def test_a_model_that_crashes_its_process_is_refused(tflite: Path, base: Path) -> None:
    process = start_publish(tflite, base)
    os.kill(child_of(process), signal.SIGSEGV)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == InvalidModel.exit_code
    assert "crashed (SIGSEGV)" in stderr
    assert not base.parent.exists()


def test_the_process_that_runs_the_model_ends_with_a_killed_publisher(tflite: Path, base: Path) -> None:
    process = start_publish(tflite, base)
    child = child_of(process)
    os.kill(child, signal.SIGSTOP)
    process.kill()
    process.communicate(timeout=60)
    os.kill(child, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)
    assert Store(base).versions() == []
    assert publish(tflite, base).number == 1
    assert list((base / ".tfopt" / "staging").iterdir()) == []


#: Publishes within limits; as root this also gives up root's right to write everywhere.
LIMITED = """
import resource, signal, sys
from tfopt import publish

if sys.argv[3] != "-":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    publish(sys.argv[1], sys.argv[2])
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def without_privileges() -> None:
    """Let the next program run without CAP_DAC_OVERRIDE, with which root writes into read-only directories."""
    import ctypes

    drop_from_bounding_set, dac_override = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override, 0, 0, 0)


def publish_limited(model: Path, base: Path, file_size: str = "-") -> str:
    command = [sys.executable, "-c", LIMITED, str(model), str(base), file_size]
    done = subprocess.run(
        command, stderr=subprocess.PIPE, text=True, timeout=60, preexec_fn=without_privileges, check=False
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_a_disk_that_takes_no_more_leaves_nothing(version: Path, base: Path) -> None:
    (version / "assets").mkdir()
    (version / "assets" / "large").write_bytes(bytes(100_000))
    said = publish_limited(version, base, "50000")
    assert said.startswith(f"{OutputError.__name__}: ")
    assert "large: cannot be written: File too large" in said
    assert not base.parent.exists()


def test_a_disk_that_takes_the_model_but_not_its_manifest_leaves_nothing(tflite: Path, base: Path) -> None:
    said = publish_limited(tflite, base, str(tflite.stat().st_size))
    assert said.startswith(f"{OutputError.__name__}: "), said
    assert f"{MANIFEST_PATH}: cannot be written: File too large" in said
    assert not base.parent.exists()


def test_a_full_disk_leaves_what_was_there(version: Path, tflite: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode:
        pytest.skip("a small filesystem can be mounted by root only")
    try:
        publish(tflite, disk / "linear")
        (version / "assets").mkdir()
        (version / "assets" / "large").write_bytes(bytes(400_000))
        before = sorted(disk.rglob("*"))
        refused(OutputError, "No space left on device; free some space", version, disk / "linear")
        assert sorted(disk.rglob("*")) == before
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_place_is_named_and_left(tflite: Path, tmp_path: Path) -> None:
    place = tmp_path / "models"
    place.mkdir(mode=0o555)
    said = publish_limited(tflite, place / "linear")
    assert said.startswith(f"{OutputError.__name__}: {place / 'linear'}: cannot be written: Permission denied"), said
    assert list(place.iterdir()) == []


def test_a_base_path_that_became_read_only_is_left_as_it_is(tflite: Path, base: Path) -> None:
    publish(tflite, base)
    before = sorted(base.rglob("*"))
    for path in (base, base / ".tfopt", base / ".tfopt" / "staging"):
        path.chmod(0o555)
    assert OutputError.__name__ in publish_limited(tflite, base)
    assert sorted(base.rglob("*")) == before


@pytest.mark.parametrize(
    ("builder", "file", "module", "extra"),
    [
        (linear_tflite, "linear.tflite", "ai_edge_litert", "litert"),
        (linear_onnx, "linear.onnx", "onnxruntime", "onnx"),
    ],
)
def test_a_missing_runtime_is_told_as_such(
    built: Built, base: Path, tmp_path: Path, builder: Callable[[Path], Path], file: str, module: str, extra: str
) -> None:
    """What the machine lacks must not be told as the model's fault."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / f"{module}.py").write_text(f"raise ModuleNotFoundError(name='{module}')")
    command = [sys.executable, "-c", LIMITED, str(built(builder) / file), str(base), "-"]
    environment = {**os.environ, "PYTHONPATH": str(blocked)}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, env=environment, check=False)
    assert done.stderr.startswith(f"{MissingExtra.__name__}: "), done.stderr
    assert f"pip install 'tfopt[{extra}]'" in done.stderr
