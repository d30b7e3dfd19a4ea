"""What counts as the bytes of an artifact."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tfopt.errors import InvalidModel
from tfopt.store.size import measure_size, model_files


@pytest.fixture
def version(tmp_path: Path) -> Path:
    files = {
        "saved_model.pb": b"graph" * 100,
        "variables/variables.index": b"i" * 10,
        "variables/variables.data-00000-of-00001": np.random.default_rng(0).bytes(1000),
        "assets/deep/words.txt": b"word\n",
        "assets.extra/tfopt.json": b"{}" * 500,
        "fingerprint.pb": b"f" * 70,
        "model.tflite": b"\0" * 5000,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_saved_model_is_what_tensorflow_reads_of_it(version: Path) -> None:
    names = [str(path.relative_to(version)) for path in model_files(version)]
    assert names == [
        "assets/deep/words.txt",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    assert measure_size(version).bytes == 500 + 10 + 1000 + 5


def test_a_file_is_itself_and_zeros_travel_light(version: Path) -> None:
    size = measure_size(version / "model.tflite")
    assert size.bytes == 5000
    assert size.gzip_bytes == pytest.approx(len(gzip.compress(b"\0" * 5000)), abs=20)


def test_noise_does_not_compress(version: Path) -> None:
    assert measure_size(version / "variables" / "variables.data-00000-of-00001").gzip_bytes >= 1000


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read even by root")
def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").symlink_to("/proc/self/mem")
    with pytest.raises(InvalidModel, match="cannot be read"):
        measure_size(tmp_path)
