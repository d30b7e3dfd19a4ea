"""Reports as files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.measure.reports import make_report
from tfopt.errors import NotFound, OutputError, UsageError
from tfopt.measure.peaks import Peaks
from tfopt.measure.profile import ArtifactProfile, Profile, ProfiledOp
from tfopt.measure.values import Report, load_report, write_json
from tfopt.runtimes.trace import OpTime


def test_a_report_travels_as_json(tmp_path: Path) -> None:
    report = make_report([0.01, 0.005], settings=[(1, 1), (2, 8)])
    write_json(report.to_dict(), tmp_path / "report.json")
    assert load_report(tmp_path / "report.json") == report


def test_a_report_with_nothing_optional_does_too() -> None:
    bare = make_report([0.01])
    bare = replace(bare, artifacts=(replace(bare.artifacts[0], footprint=None),))
    assert Report.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare


def test_a_profile_goes_along() -> None:
    op = ProfiledOp(OpTime("conv", "Conv2D", 0.001, covers=("conv", "relu"), macs=5, bytes=7), ("conv",))
    traced = ArtifactProfile("model", "saved_model", 0.0011, (op,))
    report = replace(make_report([0.01]), profile=Profile(1, Peaks(2, 1e9, None, 1e9), (traced,)))
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))).profile == report.profile


def test_what_settings_there_are() -> None:
    report = make_report([0.01], settings=[(1, 1), (1, 8), (2, 1), (2, 8)])
    assert report.threads == (1, 2)
    assert report.batch_sizes == (1, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "cannot be read"),
        ("[]", "no bench report"),
        ("{}", "no bench report"),
        ('{"schema": 1}', "schema 1, not 2"),
        ('{"schema": 2}', "damaged"),
        ('{"schema": 2, "artifacts": [{}]}', "damaged"),
    ],
)
def test_a_file_that_is_no_report(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_report(path)


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        load_report(tmp_path / "absent.json")
    with pytest.raises(UsageError, match="cannot be read"):
        load_report(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        write_json({}, tmp_path / "no" / "where.json")
