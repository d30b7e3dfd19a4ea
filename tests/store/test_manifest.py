from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tfopt import __version__
from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.store import MANIFEST_PATH, Manifest, digest_files, read_manifest, tree_digest, verify_files, write_manifest


@pytest.fixture
def version(tmp_path: Path) -> Path:
    directory = tmp_path / "v"
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"graph")
    (directory / "variables" / "data").write_bytes(b"weights")
    return directory


def rewrite(version: Path, **entries: Any) -> None:
    path = version / MANIFEST_PATH
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_what_is_written_is_read(version: Path) -> None:
    written = write_manifest(version, Manifest({"source": {"path": "m"}, "artifacts": {"tflite": {"bytes": 3}}}))
    read = read_manifest(version)
    assert read == written
    assert read.source == {"path": "m"}
    assert read.artifacts == {"tflite": {"bytes": 3}}
    assert read.data["schema"] == 1
    assert read.data["tfopt"] == __version__
    assert set(read.files) == {"saved_model.pb", "variables/data"}


def test_a_directory_without_a_manifest_is_no_error(version: Path) -> None:
    assert read_manifest(version) is None
    assert verify_files(version) is None


def test_the_manifest_is_written_with_the_same_bytes_for_the_same_entries(version: Path) -> None:
    write_manifest(version, Manifest({"ledger": [1, 2], "source": {"path": "m"}}))
    first = (version / MANIFEST_PATH).read_bytes()
    manifest = read_manifest(version)
    assert manifest is not None
    write_manifest(version, manifest)
    assert (version / MANIFEST_PATH).read_bytes() == first


def test_numbers_that_json_lacks_stay_readable(version: Path) -> None:
    write_manifest(version, Manifest({"fidelity": {"snr_db": [float("inf"), float("-inf"), float("nan"), 1.5, 2]}}))
    text = (version / MANIFEST_PATH).read_text()
    values = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["fidelity"]["snr_db"]
    assert values == ["Infinity", "-Infinity", "NaN", 1.5, 2]
    assert float(values[0]) == float("inf")


def test_unknown_keys_are_kept(version: Path) -> None:
    write_manifest(version, Manifest())
    rewrite(version, invented_later={"x": 1})
    manifest = read_manifest(version)
    assert manifest is not None
    assert manifest.data["invented_later"] == {"x": 1}


@pytest.mark.parametrize("schema", [1, "1", "1.7"])
def test_a_minor_schema_is_read(version: Path, schema: Any) -> None:
    write_manifest(version, Manifest())
    rewrite(version, schema=schema)
    assert read_manifest(version) is not None


@pytest.mark.parametrize("schema", [2, 0, "2.1", "new", None, [1], {}])
def test_another_major_schema_is_refused(version: Path, schema: Any) -> None:
    write_manifest(version, Manifest())
    rewrite(version, schema=schema)
    with pytest.raises(UnsupportedModel, match="reads schema 1"):
        read_manifest(version)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "{}", "\x80"])
def test_a_broken_manifest_is_named(version: Path, text: str) -> None:
    (version / MANIFEST_PATH).parent.mkdir()
    (version / MANIFEST_PATH).write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidModel, match=r"tfopt\.json"):
        read_manifest(version)


def test_whole_files_are_verified(version: Path) -> None:
    written = write_manifest(version, Manifest())
    (version / "added_later").touch()
    assert verify_files(version) == written


def test_a_changed_file_is_found(version: Path) -> None:
    write_manifest(version, Manifest())
    (version / "variables" / "data").write_bytes(b"weightS")
    with pytest.raises(InvalidModel, match=r"variables/data.*sha256"):
        verify_files(version)


def test_a_missing_file_is_found(version: Path) -> None:
    write_manifest(version, Manifest())
    (version / "variables" / "data").unlink()
    with pytest.raises(InvalidModel, match=r"variables/data.*missing"):
        verify_files(version)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "variables/../../secret"])
def test_a_manifest_cannot_point_outside(version: Path, name: str) -> None:
    write_manifest(version, Manifest())
    rewrite(version, files={name: "0"})
    with pytest.raises(InvalidModel, match="outside of the version"):
        verify_files(version)


def test_a_tree_has_one_digest_for_names_and_contents(version: Path) -> None:
    before = tree_digest(version)
    assert tree_digest(version) == before
    assert list(digest_files(version)) == ["saved_model.pb", "variables/data"]
    (version / "variables" / "data").rename(version / "variables" / "date")
    assert tree_digest(version) != before
    assert tree_digest(version / "saved_model.pb") == digest_files(version)["saved_model.pb"]


def test_numbers_that_json_lacks_are_given_back_as_they_are_written(version: Path) -> None:
    written = write_manifest(version, Manifest({"ledger": ({"change": float("inf")}, {"change": float("nan")})}))
    assert written.data["ledger"] == [{"change": "Infinity"}, {"change": "NaN"}]
    assert read_manifest(version) == written


def test_a_manifest_of_endless_depth_is_refused(version: Path) -> None:
    write_manifest(version, Manifest())
    (version / MANIFEST_PATH).write_text("[" * 200_000)
    with pytest.raises(InvalidModel, match=r"tfopt\.json: cannot be read"):
        read_manifest(version)


def test_a_file_name_that_is_not_utf8_is_named(version: Path) -> None:
    (version / os.fsdecode(b"odd\xff")).touch()
    with pytest.raises(InvalidModel, match=r"odd\\udcff.*not UTF-8"):
        write_manifest(version, Manifest())
