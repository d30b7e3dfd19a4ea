"""What int8 loses when nobody gives it samples, and what batch normalisations that were folded make up for.

    python -m benchmarks.int8_without_data

Run in floating point with every value rounded, and held against the float model on real pictures as in
`benchmarks.int8_decision`. Calibrated on real samples; on random numbers; on random numbers like what the first batch
normalisation remembers of the inputs; and on these with each layer's results evened out to what its own remembers,
as `tfopt compress --quantize int8` does without `--data`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import models
from benchmarks.int8_decision import DEMO, SIGNATURE, Case, _compared, _fashion, _outputs, _photographs, _samples
from benchmarks.report import print_table
from tfopt.data import Samples, synthetic_samples
from tfopt.evidence import input_types
from tfopt.formats.saved_model import read_saved_model
from tfopt.learn.observe import SampleStatistics
from tfopt.learn.recalled import RecalledStatistics
from tfopt.passes.needs.statistics import Statistics
from tfopt.passes.quantization.input_likeness import input_likeness
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe, parse_recipe
from tfopt.targets.fake_quant import with_fake_quant


def main() -> None:
    cases = (
        Case("bundled CNN", lambda: DEMO / "fashion_cnn", _fashion),
        Case("EfficientNet-Lite0", models.efficientnet_lite0, _photographs),
    )
    columns = [dict(_measured(case)) for case in cases]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    heads = ["calibrated on", *(case.name for case in cases)]
    print_table("Signal to noise, and agreement with the float model on real pictures", heads, rows)


def _measured(case: Case) -> Iterator[tuple[str, str]]:
    calibration, test = case.examples()
    original = read_saved_model(case.model())
    exact = run_pipeline(original, load_recipe("exact")).model
    before = _outputs(exact, test)
    noise = synthetic_samples(input_types(exact.signatures[SIGNATURE]), 32)
    (known, *_) = input_likeness(original.graph).values()
    ((name, array),) = noise.arrays.items()
    alike = replace(noise, arrays={name: known.drawn(array.shape, np.random.default_rng(0))})
    ways: dict[str, Statistics] = {
        "real samples": _statistics(_samples(exact, calibration)),
        "random numbers": _statistics(noise),
        "random numbers, layers evened out": RecalledStatistics(_statistics(noise), original),
        "random numbers like the inputs": _statistics(alike),
        "random numbers like the inputs, layers evened out": RecalledStatistics(_statistics(alike), original),
    }
    for told, statistics in ways.items():
        for options in ("", ": {ranges: min_max}"):
            recipe = parse_recipe(f"name: decision\nsteps:\n  - quantize{options}\n", "benchmark")
            supply: dict[type, Any] = {Statistics: statistics}
            decided = run_pipeline(exact, recipe, supply=supply).model
            made = _outputs(with_fake_quant(decided), test)
            yield f"{told}{', min_max' if options else ''}", _compared(before, made)


def _statistics(samples: Samples) -> SampleStatistics:
    return SampleStatistics({SIGNATURE: samples})


if __name__ == "__main__":
    main()
