"""What it takes to find out which layers int8 harms, and which they are.

    python -m benchmarks.sensitivity [--times] [--damages]

ResNet50 has random weights and random inputs, which show the time alone: 100 samples, two threads. The limit of the
search allows a quarter of what int8 loses on all layers, so that some have to be given back; a limit that no layer may
stay for makes the longest search. EfficientNet-Lite0 has its own weights and is measured on crops of photographs; the
order of its layers by damage is held against that on other crops.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import efficientnet_lite, models
from benchmarks.photographs import calibration_crops, judged_crops
from benchmarks.report import print_table
from tfopt.calibration_trials import CalibrationTrials
from tfopt.data import Samples
from tfopt.data.samples import batching
from tfopt.evidence import input_types
from tfopt.fidelity import Gate
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.base import Finding
from tfopt.passes.needs.statistics import Statistics
from tfopt.passes.needs.trials import Trials
from tfopt.passes.registry import steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant

KEY: Final = "serving_default"
COUNT: Final = 100
#: Seconds that ResNet50 may take with 100 samples: without a search, and with one.
WITHOUT, WITH = 60.0, 300.0
_NAMED: Final = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", action="store_true", help="how long it takes, alone")
    parser.add_argument("--damages", action="store_true", help="which layers are harmed, alone")
    chosen = parser.parse_args()
    if chosen.times or not chosen.damages:
        headings = ["quantize, ResNet50 with 100 samples", "seconds", "of processors", "mark", "given back"]
        print_table("Calibration, decision and the search for layers that int8 harms", headings, _times())
    if chosen.damages or not chosen.times:
        _print_damages()


def _times() -> Iterator[Sequence[str]]:
    model = _exact(models.resnet50())
    (name,) = model.signatures[KEY].inputs
    image = np.random.default_rng(0).normal(size=(COUNT, 224, 224, 3)).astype(np.float32)
    samples = _samples(model, {name: image})
    loss = 1 - _cosine(model, samples)
    for what, gate in (
        ("no limit to hold", None),
        ("all layers hold the limit", Gate(min_cosine=0.0)),
        ("a quarter of the loss allowed", Gate(min_cosine=1 - loss / 4)),
        ("no loss allowed", Gate(min_cosine=1 - 1e-12)),
    ):
        found, seconds, cpu = _quantized(model, samples, gate)
        floats = [finding for finding in found if not finding.done and finding.damage is not None]
        mark = WITHOUT if gate is None else WITH
        met = "" if seconds <= mark else " (missed)"
        yield what, f"{seconds:.1f}", f"{cpu:.1f}", f"{mark:.0f}{met}", f"{len(floats)} of {len(found)}"


def _print_damages() -> None:
    model = _exact(models.efficientnet_lite0())
    here, there = ({"image": efficientnet_lite.as_input(crops())} for crops in (calibration_crops, judged_crops))
    measured = [_damages(model, _samples(model, {"image": _spread(one["image"])})) for one in (here, there)]
    first, second = measured
    order = sorted(first, key=lambda name: -first[name])
    rank = {name: place for place, name in enumerate(sorted(second, key=lambda name: -second[name]), 1)}
    rows = [(name, f"{first[name]:.2%}", f"{second[name]:.2%}", str(rank[name])) for name in order[:_NAMED]]
    alike = _rank_correlation(first, second)
    note = f"rank correlation of all {len(first)} layers between the two sets of crops: {alike:.3f}"
    headings = ["EfficientNet-Lite0: layer", "damage", "on other crops", "place there"]
    print_table("How far each layer on integers alone moves the outputs", headings, rows, notes=[note])


def _damages(model: Model, samples: Samples) -> dict[str, float]:
    found, _, _ = _quantized(model, samples, Gate(min_cosine=0.0), sensitivity=True)
    return {finding.node: finding.damage for finding in found if finding.damage is not None}


def _quantized(
    model: Model, samples: Samples, gate: Gate | None, **options: Any
) -> tuple[tuple[Finding, ...], float, float]:
    given: dict[type, Any] = {Statistics: SampleStatistics({KEY: samples})}
    if gate is not None:
        given[Trials] = CalibrationTrials(model, {KEY: samples}, gate, main=KEY)
    start, spent = time.perf_counter(), time.process_time()
    outcome = steps()["quantize"].run_model(model, {"round_results": True, **options}, given)
    return outcome.findings, time.perf_counter() - start, time.process_time() - spent


def _cosine(model: Model, samples: Samples) -> float:
    """Of int8 on all layers."""
    made = steps()["quantize"].run_model(model, {"round_results": True}, {Statistics: SampleStatistics({KEY: samples})})
    before, after = (_run(one, samples) for one in (model, with_fake_quant(made.model)))
    lengths = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    return float(np.mean((before * after).sum(-1) / lengths))


def _run(model: Model, samples: Samples) -> NDArray[Any]:
    with ModelRunner(model) as runner:
        (made, *_) = samples.map(lambda batch: runner.run(KEY, batch)).values()
    return made.astype(np.float64)


def _exact(path: Path) -> Model:
    return run_pipeline(read_saved_model(path), load_recipe("exact")).model


def _samples(model: Model, arrays: dict[str, NDArray[Any]]) -> Samples:
    return Samples(arrays, "function", "benchmark", batching(input_types(model.signatures[KEY])))


def _spread(images: NDArray[Any]) -> NDArray[Any]:
    """`COUNT` of them, the first as unlike each other as those that follow: crops of one photograph are neighbours."""
    return images[np.random.default_rng(0).permutation(len(images))[:COUNT]]


def _rank_correlation(first: dict[str, float], second: dict[str, float]) -> float:
    """Spearman's."""
    places = [np.argsort(np.argsort([one[name] for name in first])) for one in (first, second)]
    return float(np.corrcoef(*places)[0, 1])


if __name__ == "__main__":
    main()
