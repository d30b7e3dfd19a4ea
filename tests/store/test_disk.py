"""Copies into staging: the input is only ever read, and the copy stands alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tfopt.errors import InvalidModel, OutputError, OutputExists
from tfopt.store.disk import copy_tree, replace_file, writing


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "model" / "variables" / "data").write_bytes(b"weights")
    return tmp_path / "model"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    return tmp_path / "copy"


def test_a_copy_shares_nothing_with_its_source(source: Path, target: Path) -> None:
    copy_tree(source, target)
    (target / "saved_model.pb").write_bytes(b"other")
    assert (source / "saved_model.pb").read_bytes() == b"graph"
    assert (target / "variables" / "data").read_bytes() == b"weights"
    assert (target / "variables" / "data").stat().st_nlink == 1


def test_links_are_followed(source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"blob")
    (source / "model.tflite").symlink_to(tmp_path / "blob")
    copy_tree(source, target)
    (tmp_path / "blob").unlink()
    assert (target / "model.tflite").read_bytes() == b"blob"
    assert not (target / "model.tflite").is_symlink()


def test_hidden_entries_stay_behind_except_below_the_top(source: Path, target: Path) -> None:
    (source / ".git").mkdir()
    (source / "variables" / ".hidden").touch()
    copy_tree(source, target)
    assert not (target / ".git").exists()
    assert (target / "variables" / ".hidden").exists()


def test_a_link_in_a_circle_is_named(source: Path, target: Path) -> None:
    (source / "variables" / "again").symlink_to(source)
    with pytest.raises(InvalidModel, match=r"again.*circle"):
        copy_tree(source, target)


def test_what_is_no_file_is_named(source: Path, target: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(InvalidModel, match="pipe"):
        copy_tree(source, target)


def test_a_broken_link_is_named(source: Path, target: Path) -> None:
    (source / "gone").symlink_to(source / "nowhere")
    with pytest.raises(InvalidModel, match="gone"):
        copy_tree(source, target)


def test_the_target_is_not_written_over(source: Path, target: Path) -> None:
    (target / "saved_model.pb").touch()
    with pytest.raises(OutputExists, match=r"saved_model\.pb"):
        copy_tree(source, target)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        replace_file(tmp_path / "file", text)
    assert (tmp_path / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_operating_system_is_quoted_with_what_to_do(tmp_path: Path) -> None:
    told = r"Read-only file system; choose a place that can be written to"
    with pytest.raises(OutputError, match=told), writing(tmp_path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path))
