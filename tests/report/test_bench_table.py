"""A report as people read it, from figures that are given."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.measure.reports import CONDITIONS, MACHINE, make_report
from tfopt.measure.footprint import Cold, Footprint
from tfopt.measure.series import Percentiles, Speedup
from tfopt.measure.values import ArtifactReport, Inputs, Report, Setting, Timing
from tfopt.report.bench_table import bench_tables, machine_text
from tfopt.store.size import Size


def timing(seconds: float, speedup: Speedup | None) -> Timing:
    percentiles = Percentiles(seconds, 2 * seconds, 3 * seconds, seconds / 2, 9 * seconds, calls=120, outliers=3)
    return Timing(2, 1, percentiles, seconds, ((seconds,) * 20,) * 5, steady=True, speedup=speedup)


@pytest.fixture
def report() -> Report:
    original = ArtifactReport(
        name="model",
        path=Path("/models/model"),
        kind="saved_model",
        size=Size(4_000_000, 3_000_000),
        footprint=Footprint(3.0, 0.5, 0.8, 400_000_000, 50_000_000, 500_000_000, 0, Cold(0.6, 0.9, 4_000_000)),
        difference=None,
        timings=(timing(0.0123, None),),
    )
    small = ArtifactReport(
        name="model.tflite",
        path=Path("/models/model.tflite"),
        kind="tflite",
        size=Size(1_000_000, 600_000),
        footprint=Footprint(0.1, 0.0025, 1.2, 40_000_000, 5_000_000, None),
        difference=2.5e-6,
        timings=(timing(0.0041, Speedup(3.0, 2.913, 3.087, 0.99, 20)),),
    )
    return Report(
        artifacts=(original, small),
        signature="serving_default",
        inputs=Inputs("file", "400 samples from x.npz", {"image": (1, 28, 28, 1)}),
        settings=(Setting(2, 1, ((0.001,) * 20,) * 5, 4, 0.0153, "precise", CONDITIONS),),
        seconds=5.0,
        precision=0.02,
        processes=5,
        seed=0,
        machine=MACHINE,
        warnings=("mind the [gap]",),
    )


def shown(report: Report, *, markdown: bool = False, width: int = 200) -> str:
    console = Console(width=width, record=True, file=StringIO())
    for part in bench_tables(report, markdown=markdown):
        console.print(part, markup=False, highlight=False)
    return console.export_text()


def rows(text: str, start: str) -> list[str]:
    """Lines that begin so, with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines() if line.startswith(start)]


def test_figures_have_their_ratios_beside_them(report: Report) -> None:
    sizes, footprint, times = rows(shown(report), "model.tflite")
    assert sizes == "model.tflite LiteRT 1 MB 0.25x 600 kB 0.20x 2.5e-06"
    assert footprint == "model.tflite 2.5 ms 0.01x 1.20 s 1.50x - 45 MB 0.10x -"
    assert times == "model.tflite 1 4.1 8.2 12.3 36.9 3/120 3.00x 2.91-3.09 faster"


def test_the_first_has_nothing_to_be_compared_to(report: Report) -> None:
    sizes, footprint, times = rows(shown(report), "model ")
    assert footprint == "model 500 ms 1.00x 800 ms 1.00x 900 ms 450 MB 1.00x 500 MB 1.00x"
    assert sizes == "model TensorFlow 4 MB 1.00x 3 MB 1.00x -"
    assert times == "model 1 12.3 24.6 36.9 111 3/120 1.00x"


def test_it_fits_into_80_columns(report: Report) -> None:
    assert rows(shown(report, width=80), "model") == rows(shown(report), "model")


def test_circumstances_and_notes_are_told_word_by_word(report: Report) -> None:
    text = shown(report)
    assert "serving_default, image [1, 28, 28, 1]: 400 samples from x.npz" in text
    assert "2 threads" in text
    assert "load average before: 0.25" in text
    assert "±1.5% after 5 processes: tight enough" in text
    assert "note: mind the [gap]" in text


def test_the_machine_takes_one_line() -> None:
    assert machine_text(MACHINE) == (
        "Some CPU, 4 cores (avx2 avx512_vnni); Python 3.11.7, tfopt 0.1.0, tensorflow 2.21.0, OMP_NUM_THREADS=1"
    )


def test_settings_are_told_apart_when_there_are_several() -> None:
    text = shown(make_report([0.01, 0.005], settings=[(1, 1), (2, 8)]))
    assert "1, 2 threads each" in text
    assert "2 threads, batch 8: ±" in text
    assert [row.split()[1] for row in rows(text, "model.tflite")[2:]] == ["1/1", "8/2"]


def test_what_was_not_measured_has_no_table(report: Report) -> None:
    bare = replace(report, artifacts=tuple(replace(each, footprint=None) for each in report.artifacts))
    assert "first answer" not in shown(bare)
    assert "first answer" in shown(report)


def test_markdown_tables_have_github_s_form(report: Report) -> None:
    lines = [line.strip() for line in shown(report, markdown=True).splitlines() if "|" in line]
    assert len(lines) == 3 * (1 + 1 + 2)
    assert all(line.startswith("|") and line.endswith("|") for line in lines)
    assert set(lines[1]) <= set("|-: ")
    assert len({line.count("|") for line in lines[:4]}) == 1
