"""Reports with figures that are given, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfopt.measure.conditions import Conditions
from tfopt.measure.footprint import Cold, Footprint
from tfopt.measure.machine import Machine
from tfopt.measure.series import calm_seconds, percentiles, speedup
from tfopt.measure.values import ArtifactReport, Inputs, Processes, Report, Setting, Timing
from tfopt.store.size import Size

MACHINE = Machine(
    cpu="Some CPU",
    cores=4,
    flags=("avx2", "avx512_vnni"),
    memory_bytes=8 << 30,
    system="Linux 6 x86_64",
    python="3.11.7",
    libraries={"tfopt": "0.1.0", "tensorflow": "2.21.0"},
    settings={"OMP_NUM_THREADS": "1"},
    load=0.25,
)
CONDITIONS = Conditions(10.0, 0.1, 0.0, 0.0, 20, None, None)


def make_report(
    seconds: Sequence[float],
    *,
    names: Sequence[str] = ("model", "model.tflite"),
    yardstick: float = 0.001,
    noise: float = 0.005,
    processes: int = 5,
    settings: Sequence[tuple[int, int]] = ((2, 1),),
    seed: int = 0,
) -> Report:
    """One artifact for each of `seconds` (of a call at batch 1, a multiple of it for others), as (threads, batch) say.

    `noise` is how much the processes differ.
    """
    rng = np.random.default_rng(seed)
    timings = [[_timing(each, setting, noise, processes, rng) for setting in settings] for each in seconds]
    first = timings[0]
    return Report(
        artifacts=tuple(
            ArtifactReport(
                name=name,
                path=Path("/models") / name,
                kind="tflite" if name.endswith(".tflite") else "saved_model",
                size=Size(4_000_000, 3_000_000),
                footprint=Footprint(3.0, 0.5, 0.8, 4 << 20, 1 << 20, None, 0, Cold(0.6, 0.9, 4_000_000)),
                difference=2.5e-6 if index else None,
                timings=tuple(_beside(*pair) if index else pair[1] for pair in zip(first, mine, strict=True)),
            )
            for index, (name, mine) in enumerate(zip(names, timings, strict=False))
        ),
        settings=tuple(
            Setting(threads, batch, _rounds(yardstick, noise, processes, rng), 4, 0.015, "precise", CONDITIONS)
            for threads, batch in settings
        ),
        signature="serving_default",
        inputs=Inputs("file", "400 samples from x.npz", {"image": (1, 28, 28, 1)}),
        seconds=5.0,
        precision=0.02,
        processes=processes,
        seed=seed,
        machine=MACHINE,
        warnings=("mind the [gap]",),
    )


def _rounds(seconds: float, noise: float, processes: int, rng: np.random.Generator) -> Processes:
    levels = seconds * np.exp(noise * rng.standard_normal(processes))
    return tuple(tuple(level * (1 + rng.exponential(0.01, 40))) for level in levels)


def _timing(seconds: float, setting: tuple[int, int], noise: float, processes: int, rng: np.random.Generator) -> Timing:
    threads, batch = setting
    rounds = _rounds(seconds * batch, noise, processes, rng)
    calm = float(np.median([calm_seconds(each) for each in rounds]))
    return Timing(threads, batch, percentiles(rounds), calm, rounds, steady=True, speedup=None)


def _beside(first: Timing, timing: Timing) -> Timing:
    return Timing(**{**vars(timing), "speedup": speedup(first.rounds, timing.rounds)})
