"""What is refused to be published, and leaves nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.publishing import layers_onnx, refused
from tfopt.errors import (
    FidelityError,
    InvalidModel,
    InvalidSamples,
    NotFound,
    TfoptError,
    UnsafeModel,
    UsageError,
)
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, write_warmup
from tfopt.store import Manifest, write_manifest

Built = Callable[[Callable[[Path], Path]], Path]


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
