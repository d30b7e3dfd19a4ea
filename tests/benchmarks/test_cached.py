"""The benchmarks' models are built whole or not at all, and wheels are those that were reviewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cached
from benchmarks.cached import built, fetched
from benchmarks.photographs import FOOLBOX
from tfopt.errors import InvalidModel


def test_a_model_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "CACHE", tmp_path)
    builds: list[Path] = []

    def build(folder: Path) -> None:
        builds.append(folder)
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(b"whole")

    first, second = built("tiny", build), built("tiny", build)
    assert first == second == tmp_path / "models" / "tiny"
    assert (first / "saved_model.pb").read_bytes() == b"whole"
    assert len(builds) == 1
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "CACHE", tmp_path)

    def build(folder: Path) -> None:
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(b"half")
        raise InvalidModel("half way")

    with pytest.raises(InvalidModel, match="half way"):
        built("tiny", build)
    assert list((tmp_path / "models").iterdir()) == []


def test_the_slower_of_two_builders_takes_the_model_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "CACHE", tmp_path)

    def build(folder: Path) -> None:
        for place in (folder, tmp_path / "models" / "tiny"):
            place.mkdir()
            (place / "saved_model.pb").write_bytes(b"whole")

    assert (built("tiny", build) / "saved_model.pb").read_bytes() == b"whole"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]


def test_a_wheel_of_another_digest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "CACHE", tmp_path)
    wheel = tmp_path / "wheels" / "foolbox-3.3.4-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"not foolbox")
    with pytest.raises(InvalidModel, match="not the package that was reviewed"):
        fetched(FOOLBOX)
