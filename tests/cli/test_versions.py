"""`tfopt versions`: each command answers with the state that it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tfopt.cli.main import main
from tfopt.errors import NotFound, UsageError
from tfopt.store import MANIFEST_PATH, Manifest, Store, write_manifest


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base path with the versions 1, 2 and 3."""
    store = Store(tmp_path / "models" / "cnn")
    for _ in range(3):
        with store.stage() as staged:
            (staged / "saved_model.pb").write_bytes(bytes(1500))
            write_manifest(staged, Manifest({"source": {"name": "cnn-v7"}, "artifacts": {"saved_model": {}}}))
            store.commit(staged)
    return store.base


def versions(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main(["versions", *map(str, arguments), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def states(document: dict[str, Any]) -> dict[int, str]:
    return {version["version"]: version["state"] for version in document["versions"]}


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    assert main(["versions", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    return captured.err


def test_list_for_people(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["versions", "label", str(base), "stable", "2"]) == 0
    capsys.readouterr()
    assert main(["versions", "list", str(base)]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["version", "state", "labels", "size", "artifacts", "made", "from"]
    assert rows[0].split()[:2] == ["3", "latest"]
    assert rows[1].split()[:3] == ["2", "older", "stable"]
    assert rows[1].split()[-2:] == ["saved_model", "cnn-v7"]
    assert "kB" in rows[1]


def test_a_directory_of_models_is_told_from_a_base_path(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base.parent / "notes.txt").touch()
    assert main(["versions", "list", str(base.parent)]) == 0
    assert f"note: there are no versions here, but models that have some: {base}" in capsys.readouterr().err


def test_list_as_json(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = versions(capsys, "list", base)
    assert document["latest"] == 3
    first = document["versions"][0]
    assert first["path"] == str(base / "1")
    assert first["bytes"] == sum(path.stat().st_size for path in (base / "1").rglob("*") if path.is_file())
    assert (first["made_from"], first["artifacts"], first["problem"]) == ("cnn-v7", ["saved_model"], None)


def test_one_broken_version_does_not_hide_the_others(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base / "2" / MANIFEST_PATH).write_text("{")
    (base / "4").mkdir()
    problems = {version["version"]: version["problem"] for version in versions(capsys, "list", base)["versions"]}
    assert problems.pop(2).startswith("cannot be read")
    assert problems == {1: None, 3: None, 4: None}


def test_rollback_and_promote(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert states(versions(capsys, "rollback", base)) == {1: "older", 2: "latest", 3: "held"}
    assert states(versions(capsys, "promote", base, "1")) == {1: "latest", 2: "held", 3: "held"}
    assert states(versions(capsys, "promote", base, "3")) == {1: "older", 2: "held", 3: "latest"}


def test_a_label_left_on_a_held_version_is_told(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    versions(capsys, "label", base, "canary", "3")
    assert main(["versions", "rollback", str(base)]) == 0
    assert "canary still points at version 3, which is out of service" in capsys.readouterr().err


def test_label_and_its_removal(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert versions(capsys, "label", base, "stable", "2")["versions"][1]["labels"] == ["stable"]
    assert versions(capsys, "label", base, "stable", "--remove")["versions"][1]["labels"] == []


def test_delete(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = versions(capsys, "delete", base, "1")
    assert document["deleted"] == [1]
    assert list(states(document)) == [2, 3]
    assert versions(capsys, "delete", base, "--keep", "1")["deleted"] == [2]
    assert versions(capsys, "delete", base, "3", "--force")["latest"] is None


def test_delete_of_several_is_all_or_nothing(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "version 3 is the latest" in fails(capsys, UsageError.exit_code, "delete", base, "1", "3")
    assert list(states(versions(capsys, "list", base))) == [1, 2, 3]


def test_what_does_not_fit_together_is_refused(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, 2, "delete", base)
    fails(capsys, 2, "delete", base, "1", "--keep", "1")
    fails(capsys, 2, "delete", base, "--keep", "1", "--force")
    fails(capsys, 2, "label", base, "stable")
    fails(capsys, 2, "label", base, "stable", "1", "--remove")
    fails(capsys, 2, "promote", base, "one")


def test_what_is_not_there_is_named(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "versions here: 1, 2, 3" in fails(capsys, NotFound.exit_code, "promote", base, "7")
    assert "nowhere" in fails(capsys, NotFound.exit_code, "list", base / "nowhere")
    assert "nowhere" in fails(capsys, NotFound.exit_code, "rollback", base / "nowhere")
    assert "labels here: none" in fails(capsys, NotFound.exit_code, "label", base, "stable", "--remove")
