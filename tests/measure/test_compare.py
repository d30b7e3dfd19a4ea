"""Two reports whose true change is known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.measure.reports import MACHINE, make_report
from tfopt.errors import UsageError
from tfopt.measure.compare import compare_reports
from tfopt.measure.values import write_json


def test_a_change_is_found_and_the_machines_drift_is_divided_out() -> None:
    before = make_report([0.010], yardstick=0.001, seed=1)
    after = make_report([0.010 * 1.1 * 1.04], yardstick=0.001 * 1.04, seed=2)
    (change,) = compare_reports(before, after).changes
    assert change.speedup.low < 1 / 1.1 < change.speedup.high
    assert change.speedup.verdict == "slower"
    assert change.drift == pytest.approx(1.04, abs=0.02)
    assert change.after / change.before == pytest.approx(1.1 * 1.04, abs=0.03)


def test_no_change_is_called_where_only_the_machine_has_changed() -> None:
    """It became slower by a third, and the model by a quarter only, as models do."""
    before = make_report([0.010], yardstick=0.001, seed=1)
    after = make_report([0.0125], yardstick=0.00133, seed=2)
    comparison = compare_reports(before, after)
    assert comparison.changes[0].speedup.verdict == "unclear"
    assert any("1.33x slower after" in warning for warning in comparison.warnings)


@pytest.mark.parametrize("ratio", [1.0, 1.1])
def test_how_often_a_change_is_called(ratio: float) -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(100):
        before = make_report([0.010], noise=0.01, seed=2 * seed)
        after = make_report([0.010 * ratio], noise=0.01, seed=2 * seed + 1)
        verdicts[compare_reports(before, after).changes[0].speedup.verdict] += 1
    if ratio == 1.0:
        assert verdicts["slower"] + verdicts["faster"] == 0, verdicts
    else:
        assert verdicts["slower"] >= 98, verdicts


def test_artifacts_and_settings_that_both_have() -> None:
    before = make_report([0.01, 0.02], names=("a", "b"), settings=[(1, 1), (2, 1), (2, 8)])
    after = make_report([0.02, 0.03], names=("b", "c"), settings=[(2, 8), (1, 1)])
    changes = compare_reports(before, after).changes
    assert [(change.name, change.threads, change.batch_size) for change in changes] == [("b", 1, 1), ("b", 2, 8)]


def test_a_single_artifact_may_have_got_another_name() -> None:
    comparison = compare_reports(make_report([0.01], names=("old",)), make_report([0.01], names=("new",)))
    assert [change.name for change in comparison.changes] == ["new"]


def test_what_cannot_be_compared() -> None:
    report = make_report([0.01])
    with pytest.raises(UsageError, match="signature serving_default, the other of other"):
        compare_reports(report, replace(report, signature="other"))
    with pytest.raises(UsageError, match=r"image \[1, 28, 28, 1\], the other of image \[1, 32, 32, 3\]"):
        compare_reports(report, replace(report, inputs=replace(report.inputs, shapes={"image": (1, 32, 32, 3)})))
    with pytest.raises(UsageError, match="no artifact and setting in common"):
        compare_reports(report, make_report([0.01], settings=[(4, 1)]))


def test_what_else_has_changed_is_told() -> None:
    other = replace(MACHINE, cpu="Other CPU", libraries={"tfopt": "0.2.0", "numpy": "2.0"}, settings={})
    warnings = compare_reports(make_report([0.01]), replace(make_report([0.01]), machine=other)).warnings
    for words in ("two machines (Some CPU and Other CPU)", "tfopt 0.1.0 before, 0.2.0 after", "tensorflow 2.21.0"):
        assert any(words in warning for warning in warnings), words
    assert any("OMP_NUM_THREADS" in warning for warning in warnings)
    assert "before: mind the [gap]" in warnings


def test_it_is_plain_json() -> None:
    comparison = compare_reports(make_report([0.01]), make_report([0.01], seed=1))
    document = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert document["changes"][0]["speedup"]["verdict"] == "same"
    assert document["machines"]["after"]["cpu"] == "Some CPU"


def test_comparing_imports_no_engine(tmp_path: Path) -> None:
    for name, seconds in (("before", 0.01), ("after", 0.012)):
        write_json(make_report([seconds]).to_dict(), tmp_path / f"{name}.json")
    code = (
        "import sys, tfopt; (change,) = tfopt.compare_reports('before.json', 'after.json').changes;"
        "assert change.speedup.verdict == 'slower', change;"
        "assert not {'tensorflow', 'ai_edge_litert', 'onnxruntime', 'grpc'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
