"""TF Serving's rules for what is a version (file_system_storage_path_source_test.cc tests the same names)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.errors import InvalidModel, NotFound
from tfopt.store import is_version_directory, read_labels, scan, version_number
from tfopt.store.base_path import claimed_number, entries


def make(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).mkdir(parents=True)
    return base


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("0", 0),
        ("00000123", 123),
        ("20170111173521", 20170111173521),
        ("-1", -1),
        ("+5", 5),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("5.tmp", None),
        ("tmp-5", None),
        ("2.held", None),
        ("1_000", None),
        ("٣", None),
        ("0x10", None),
        ("1.0", None),
        ("", None),
        (".tfopt", None),
    ],
)
def test_a_name_is_a_version_as_in_tf_serving(name: str, number: int | None) -> None:
    assert version_number(name) == number


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1), st.integers(0, 5))
def test_every_int64_is_a_version_with_any_number_of_leading_zeros(number: int, zeros: int) -> None:
    sign = "-" if number < 0 else ""
    assert version_number(sign + "0" * zeros + str(abs(number))) == number


@pytest.mark.parametrize(
    ("name", "number"), [("7", 7), ("7.held", 7), ("007.tmp", 7), ("7.a.b", 7), ("x7", None), ("7x", None)]
)
def test_what_is_left_of_a_version_still_claims_its_number(name: str, number: int | None) -> None:
    assert claimed_number(name) == number


def test_scan_gives_directories_with_a_number_by_ascending_number(tmp_path: Path) -> None:
    make(tmp_path, "10", "9", "00000123", "5.held", ".tfopt", "backup")
    (tmp_path / "11").write_text("a file")
    assert list(scan(tmp_path).items()) == [
        (9, tmp_path / "9"),
        (10, tmp_path / "10"),
        (123, tmp_path / "00000123"),
    ]


def test_scan_follows_links_to_versions(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere", "base")
    (tmp_path / "base" / "3").symlink_to(tmp_path / "elsewhere")
    assert list(scan(tmp_path / "base")) == [3]


def test_a_link_in_a_circle_is_no_version(tmp_path: Path) -> None:
    make(tmp_path, "1")
    (tmp_path / "2").symlink_to("2")
    assert scan(tmp_path) == {1: tmp_path / "1"}


def test_of_two_names_for_one_number_the_plain_one_counts(tmp_path: Path) -> None:
    assert scan(make(tmp_path, "001", "1")) == {1: tmp_path / "1"}


def test_a_missing_base_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        scan(tmp_path / "nowhere")


def test_entries_say_what_is_held_and_labelled(tmp_path: Path) -> None:
    make(tmp_path, "1", "2", "3.held", ".tfopt")
    (tmp_path / ".tfopt" / "labels.json").write_text('{"stable": 1, "old": 1, "canary": 2, "gone": 9}')
    found = [(entry.number, entry.held, entry.labels) for entry in entries(tmp_path)]
    assert found == [(1, False, ("old", "stable")), (2, False, ("canary",)), (3, True, ())]


@pytest.mark.parametrize("text", ["[" * 200_000, "[]", '{"a": "1"}', '{"a": true}', "{", "\0"])
def test_broken_labels_are_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    make(tmp_path, ".tfopt")
    (tmp_path / ".tfopt" / "labels.json").write_text(text)
    with pytest.raises(InvalidModel, match=r"labels\.json"):
        read_labels(tmp_path)


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt", "model.tflite"])
def test_a_version_directory_holds_an_artifact(tmp_path: Path, name: str) -> None:
    assert not is_version_directory(tmp_path)
    (tmp_path / name).touch()
    assert is_version_directory(tmp_path)
