"""`compress` takes a file that Keras saved: Keras exports it, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import tfopt
from tfopt.compression import default_output
from tfopt.errors import UnsupportedModel
from tfopt.keras.opened import exported
from tfopt.recipe import load_recipe


def test_a_keras_file_is_compressed(keras_file: Path, samples: tuple[Path, Path], tmp_path: Path) -> None:
    result = tfopt.compress(keras_file, tmp_path / "out", data=samples[0])
    assert result.manifest["source"]["name"] == "small.keras"
    serving = result.manifest["signatures"]["serving_default"]
    assert list(serving["inputs"]) == ["image"] and list(serving["outputs"]) == ["probabilities"]


def test_the_output_is_named_after_the_file_without_its_ending(keras_file: Path) -> None:
    assert default_output(keras_file, load_recipe("exact")) == keras_file.with_name("small-exact")


def test_what_keras_cannot_load_is_told_in_its_words(keras_file: Path, tmp_path: Path) -> None:
    import zipfile

    broken = tmp_path / "broken.keras"
    with zipfile.ZipFile(keras_file) as whole, zipfile.ZipFile(broken, "w") as part:
        for name in ("metadata.json", "config.json"):
            part.writestr(name, whole.read(name))
    with pytest.raises(UnsupportedModel, match=r"Keras 3.* cannot load or export it"), exported(broken):
        pass


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_a_file_of_keras_2_is_exported_by_keras_2(tmp_path: Path, ending: str) -> None:
    tf_keras = pytest.importorskip("tf_keras", reason="models of Keras 2 need the extra tfmot")
    image = tf_keras.Input((4,), name="image")
    path = tmp_path / f"old.{ending}"
    tf_keras.Model(image, tf_keras.layers.Dense(2)(image)).save(path)
    with exported(path) as directory:
        assert (directory / "saved_model.pb").is_file()
