"""The whole of `bench` on real artifacts. What the clock says is not tested, only what is made of it."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.measure import artifacts
from tfopt.errors import InvalidModel, InvalidSamples, NotFound, UsageError
from tfopt.formats.serving.warmup import WARMUP_PATH, WarmupRequest, write_warmup
from tfopt.measure.bench import LEAST_PROCESSES, bench
from tfopt.measure.series import calm_seconds
from tfopt.measure.timing import MIN_ROUNDS
from tfopt.measure.values import SCHEMA, Report

Built = Callable[[Callable[[Path], Path]], Path]
QUICK: dict[str, Any] = {"seconds": 0.02, "footprint": False, "threads": 1, "processes": 1}


@pytest.fixture(scope="module")
def report(built: Built) -> Report:
    """The classifier against its TFLite and itself, at two batch sizes."""
    model, tflite = built(models.classifier), built(artifacts.classifier_tflite)
    return bench([model, tflite, model], batch_sizes=(1, 8), **QUICK)


def test_artifacts_come_in_order_with_names_that_tell_them_apart(report: Report) -> None:
    assert [artifact.kind for artifact in report.artifacts] == ["saved_model", "tflite", "saved_model"]
    assert [artifact.name for artifact in report.artifacts] == ["classifier", "model.tflite", "classifier (2)"]


def test_each_artifact_is_timed_at_each_batch_size(report: Report) -> None:
    for artifact in report.artifacts:
        assert [timing.batch_size for timing in artifact.timings] == [1, 8]
        for timing in artifact.timings:
            seconds = timing.seconds
            assert 0 < seconds.fastest <= seconds.median <= seconds.p90 <= seconds.p99 <= seconds.slowest
            (rounds,) = timing.rounds
            assert len(rounds) >= MIN_ROUNDS
            assert seconds.calls >= len(rounds)
            assert seconds.fastest <= timing.calm <= seconds.slowest


def test_the_first_is_what_the_others_are_compared_to(report: Report) -> None:
    first, *others = report.artifacts
    assert first.difference is None
    assert all(timing.speedup is None for timing in first.timings)
    for index, timing in enumerate(others[0].timings):
        assert timing.speedup is not None
        assert timing.speedup.low <= timing.speedup.value <= timing.speedup.high
        calm = [calm_seconds(each.rounds[0]) for each in (first.timings[index], timing)]
        assert timing.speedup.value == pytest.approx(calm[0] / calm[1])


def test_the_yardstick_and_the_conditions_are_recorded(report: Report) -> None:
    assert [(setting.threads, setting.batch_size) for setting in report.settings] == [(1, 1), (1, 8)]
    for index, setting in enumerate(report.settings):
        assert [len(rounds) for rounds in setting.yardstick] == [
            len(rounds) for rounds in report.artifacts[0].timings[index].rounds
        ]
        assert setting.units >= 1
        assert setting.conditions.seconds > 0
        assert setting.ended == ("precise" if setting.precision <= report.precision else "time")


def test_fresh_processes_add_to_the_rounds(built: Built) -> None:
    path = built(artifacts.linear_tflite)
    result = bench([path, path], seconds=0.03, processes=3, precision=1e-9, threads=[1, 2], footprint=False, seed=7)
    assert result.threads == (1, 2)
    for artifact in result.artifacts:
        assert [timing.threads for timing in artifact.timings] == [1, 2]
        for timing in artifact.timings:
            assert len(timing.rounds) == 3
            assert all(len(rounds) >= MIN_ROUNDS / 3 for rounds in timing.rounds)
    assert {setting.ended for setting in result.settings} == {"time"}
    assert all(timing.speedup.processes == 3 for timing in result.artifacts[1].timings if timing.speedup)


def test_it_ends_when_it_is_precise_but_not_before_the_processes_have_been_compared(built: Built) -> None:
    path = built(artifacts.linear_tflite)
    result = bench([path], seconds=0.06, processes=6, precision=0.99, threads=1, footprint=False)
    assert result.settings[0].ended == "precise"
    # On a busy machine one more than the least may be needed.
    assert LEAST_PROCESSES <= len(result.settings[0].yardstick) < 6


def test_words_and_samples_travel_to_the_other_processes(built: Built) -> None:
    result = bench([built(models.table)], seconds=0.02, processes=2, precision=1e-9, threads=1, footprint=False)
    assert len(result.settings[0].yardstick) == 2


def test_outputs_are_compared(report: Report, built: Built) -> None:
    _, tflite, same = report.artifacts
    assert tflite.difference is not None
    assert tflite.difference < 1e-5
    assert same.difference == 0.0
    wrong = bench([built(models.linear), built(artifacts.wrong_linear)], **QUICK).artifacts[1]
    assert wrong.difference is not None
    assert wrong.difference > 0.05


def test_the_inputs_are_told(report: Report) -> None:
    assert report.signature == "serving_default"
    assert report.inputs.source == "synthetic"
    assert report.inputs.shapes == {"image": (1, 8, 8, 3)}
    assert any("synthetic" in warning for warning in report.warnings)


def test_it_is_plain_json(report: Report) -> None:
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["schema"] == SCHEMA
    assert Report.from_dict(document) == report
    assert document["artifacts"][1]["timings"][1]["speedup"]["verdict"] in ("faster", "slower", "same", "unclear")
    assert document["artifacts"][0]["size"]["bytes"] == report.artifacts[0].size.bytes
    assert document["machine"]["libraries"]["tfopt"]
    assert document["inputs"]["shapes"] == {"image": [1, 8, 8, 3]}


def test_a_version_directory_is_both_of_its_artifacts(built: Built) -> None:
    version = built(artifacts.linear_version)
    result = bench([version], **QUICK)
    assert [artifact.kind for artifact in result.artifacts] == ["saved_model", "tflite"]
    saved_model, tflite = result.artifacts
    assert tflite.size.bytes == (version / "model.tflite").stat().st_size
    assert saved_model.size.bytes + tflite.size.bytes <= sum(
        f.stat().st_size for f in version.rglob("*") if f.is_file()
    )


def test_footprints_are_measured_unless_unwanted(report: Report, built: Built) -> None:
    assert report.artifacts[0].footprint is None
    (artifact,) = bench([built(artifacts.linear_tflite)], seconds=0.02, processes=1).artifacts
    assert artifact.footprint is not None
    assert artifact.footprint.answer_seconds > 0


def test_samples_from_a_file(built: Built, tmp_path: Path) -> None:
    data = tmp_path / "samples.npz"
    np.savez(data, **artifacts.images(3))
    result = bench([built(models.classifier)], data=data, batch_sizes=[2, 4], **QUICK)
    assert result.inputs.source == "file"
    assert result.inputs.shapes == {"image": (2, 8, 8, 3)}
    assert not any("synthetic" in warning for warning in result.warnings)
    assert any("3 samples, fewer than a batch of 4" in warning for warning in result.warnings)


def test_the_models_own_warmup_records_come_before_synthetic_samples(built: Built, tmp_path: Path) -> None:
    model = models.linear(tmp_path / "warm")
    (model / WARMUP_PATH).parent.mkdir()
    write_warmup(model / WARMUP_PATH, [WarmupRequest("m", "serving_default", {"x": np.ones((2, 3), np.float32)})])
    assert bench([built(models.linear), model], **QUICK).inputs.source == "warmup"


def test_open_dimensions(built: Built, tmp_path: Path) -> None:
    model = built(artifacts.sequence)
    assumed = bench([model], **QUICK)
    assert assumed.inputs.shapes == {"x": (1, 1, 3)}
    assert any("--shape x=1,1,3" in warning for warning in assumed.warnings)
    given = bench([model], shapes={"x": (None, 20, 3)}, **QUICK)
    assert given.inputs.shapes == {"x": (1, 20, 3)}
    assert not any("--shape" in warning for warning in given.warnings)
    data = tmp_path / "x.npy"
    np.save(data, np.zeros((4, 9, 3), np.float32))
    assert bench([model], data=data, **QUICK).inputs.shapes == {"x": (1, 9, 3)}


def test_models_of_any_kind_of_input(built: Built, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(1, 5, dtype=np.float32))
    assert bench([built(models.loop)], data=tmp_path / "x.npy", **QUICK).inputs.shapes == {"x": ()}
    assert bench([built(models.table)], **QUICK).inputs.shapes == {"words": (1,)}
    assert bench([built(models.two_signatures)], signature="score", **QUICK).signature == "score"
    assert bench([built(artifacts.batch_of_four)], batch_sizes=(4,), **QUICK).inputs.shapes == {"x": (4, 3)}


def test_outputs_that_cannot_be_compared_are_told(built: Built) -> None:
    result = bench([built(models.linear), built(artifacts.unlike_linear)], **QUICK)
    assert result.artifacts[1].difference is None
    assert any("unlike_linear are not comparable" in warning for warning in result.warnings)


def test_it_says_what_it_does_and_leaves_the_process_as_it_was(built: Built) -> None:
    told: list[str] = []
    bench([built(artifacts.linear_tflite)], tell=told.append, **QUICK)
    assert any(text.startswith("loading model.tflite") for text in told)
    assert any("measuring, 100 %" in text for text in told)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_sizes": (0,)}, "batch size 0"),
        ({"batch_sizes": ()}, "batch size"),
        ({"batch_sizes": (4, -1)}, "batch size -1"),
        ({"seconds": 0}, "0 seconds"),
        ({"seconds": -1.5}, "-1.5 seconds"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"seconds": float("inf")}, "inf seconds"),
        ({"threads": 0}, "0 threads"),
        ({"threads": (2, 0)}, "0 threads"),
        ({"threads": ()}, "no threads"),
        ({"processes": 0}, "0 processes"),
        ({"precision": 0.0}, "precision of 0"),
        ({"precision": 2.0}, "precision of 2"),
    ],
)
def test_impossible_arguments(built: Built, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bench([built(artifacts.linear_tflite)], **{**QUICK, **arguments})


def test_paths_are_a_list(built: Built) -> None:
    with pytest.raises(UsageError, match="at least one"):
        bench([], **QUICK)
    with pytest.raises(UsageError, match="a list"):
        bench(built(artifacts.linear_tflite), **QUICK)  # type: ignore[arg-type]  # the mistake that is tested


def test_what_cannot_be_measured_together(built: Built, tmp_path: Path) -> None:
    linear, classifier = built(artifacts.linear_tflite), built(artifacts.classifier_tflite)
    with pytest.raises(UsageError, match="only artifacts of one contract"):
        bench([linear, classifier], **QUICK)
    with pytest.raises(NotFound, match="no signature other"):
        bench([linear], signature="other", **QUICK)
    with pytest.raises(NotFound, match="no such file"):
        bench([linear, tmp_path / "absent"], **QUICK)
    with pytest.raises(InvalidModel, match="no model"):
        bench([linear, tmp_path], **QUICK)
    with pytest.raises(UsageError, match="batches of 4 alone"):
        bench([built(artifacts.batch_of_four)], batch_sizes=(4, 8), **QUICK)


def test_samples_that_do_not_fit(built: Built, tmp_path: Path) -> None:
    data = tmp_path / "samples.npz"
    np.savez(data, image=np.full((4, 8, 8, 3), np.nan, np.float32))
    with pytest.raises(InvalidSamples, match=r"(?i)nan"):
        bench([built(artifacts.classifier_tflite)], data=data, **QUICK)
