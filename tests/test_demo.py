"""The tour, run whole: it is the first thing that anybody runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tfopt.cli.main import main
from tfopt.demo.tour import MARKER, run_tour
from tfopt.errors import OutputError, OutputExists


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_tour(tmp_path_factory.mktemp("demo") / "tour", echo=False, seconds=0.2)


def results(steps: list[dict[str, Any]], command: str) -> list[Any]:
    return [step["result"] for step in steps if step["command"].startswith(f"tfopt {command}")]


def test_it_goes_the_whole_way(steps: list[dict[str, Any]]) -> None:
    words = [step["command"].split()[1] for step in steps]
    assert words == ["inspect", "compress", "bench", "publish", "publish", "predict", "versions", "predict", "versions"]


def test_the_result_is_small_and_right(steps: list[dict[str, Any]]) -> None:
    (made,) = results(steps, "compress")
    tflite = made["artifacts"]["tflite"]["fidelity"]["serving_default"]
    assert tflite["accuracy_before"] - tflite["accuracy_after"] <= 0.005
    original, *artifacts = results(steps, "bench")[0]["artifacts"]
    assert {each["kind"] for each in artifacts} == {"saved_model", "tflite"}
    assert min(each["size"]["bytes"] for each in artifacts) <= 0.3 * original["size"]["bytes"]


def test_both_versions_answer_and_the_first_is_served_after_the_rollback(steps: list[dict[str, Any]]) -> None:
    second, first = (answer["top"]["probabilities"] for answer in results(steps, "predict"))
    assert first != second  # float32 and int8
    assert [best["class"] for best, *_ in first] == [best["class"] for best, *_ in second]
    (listed,) = results(steps, "versions list")
    assert listed["latest"] == 1
    assert [version["state"] for version in listed["versions"]] == ["latest", "held"]


def test_only_a_tour_s_own_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("keep")
    (tmp_path / "tour").mkdir()
    (tmp_path / "tour" / MARKER).touch()
    (tmp_path / "link").symlink_to("tour")
    for name in ("mine", "link"):
        with pytest.raises(OutputExists):
            run_tour(tmp_path / name, echo=False)
    assert (tmp_path / "mine" / "file").read_text() == "keep"


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", os.fspath(tmp_path / "file" / "tour")]) == OutputError.exit_code
    assert "cannot be written" in capsys.readouterr().err
