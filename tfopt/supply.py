"""What a run's samples give to its steps: statistics, trials, timings, re-fitting and teaching, each made on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from tfopt.evidence import Evidence
from tfopt.fidelity import Gate
from tfopt.ir.graph import Model
from tfopt.keras.opened import as_saved_model
from tfopt.passes.needs.op_times import OpTimes
from tfopt.passes.needs.refits import Refits
from tfopt.passes.needs.statistics import SecondMoments, Statistics
from tfopt.passes.needs.teaching import Teaching
from tfopt.passes.needs.trials import Trials
from tfopt.pipeline import Outputs, Race, Speed, run_pipeline
from tfopt.preflight import check_model
from tfopt.recipe import load_recipe
from tfopt.words import Tell

#: Examples that the ledger's `change` is measured on: enough to see a step go wrong, few enough to run after each.
PROBE_EXAMPLES = 8


def probe_of(evidence: Evidence) -> Callable[[Model], Outputs]:
    """Runs a model in memory on a few held-out examples of every signature."""
    few = {
        key: split.held_out.take(range(min(PROBE_EXAMPLES, split.held_out.count)))
        for key, split in evidence.splits.items()
    }

    def probe(model: Model) -> Outputs:
        from tfopt.runtimes.tensorflow import ModelRunner

        with closing(ModelRunner(model)) as runner:
            return {key: samples.map(partial(runner.run, key)) for key, samples in few.items()}

    return probe


def race_of(evidence: Evidence) -> Race:
    """Times two models against each other, which is needed of few recipes."""

    def race(before: Model, after: Model) -> Speed:
        from tfopt.race import TensorFlowRace

        return TensorFlowRace(evidence.main, evidence.calibration[evidence.main])(before, after)

    return race


def supply_of(evidence: Evidence, original: Model, gate: Gate, tell: Tell) -> Mapping[type, Any]:
    """What steps may need. Nothing is run before one of them asks, and nothing that the result is judged on ever."""
    from tfopt.calibration_trials import CalibrationTrials
    from tfopt.learn.moments import SampleMoments
    from tfopt.learn.op_times import TracedOpTimes
    from tfopt.learn.side_by_side import SampleRefits
    from tfopt.learn.teacher import SampleTeaching

    main, labels = evidence.main, evidence.calibration_labels
    trials = CalibrationTrials(original, evidence.calibration, gate, main=main, labels=labels)
    moments = SampleMoments(evidence.calibration)
    refits = SampleRefits(evidence.calibration)
    teaching = SampleTeaching(evidence.calibration, main, partial(_student, tell=tell), labels, tell)
    return {
        Statistics: _observed_or_recalled(evidence, original),
        Trials: trials,
        SecondMoments: moments,
        OpTimes: TracedOpTimes(evidence.calibration[main], main),
        Refits: refits,
        Teaching: teaching,
    }


def _student(path: Path, tell: Tell) -> Model:
    """A model of the user's own, with what the exact steps make of it."""
    from tfopt.formats.saved_model import read_saved_model

    check_model(path)
    with as_saved_model(path, tell) as saved:
        return run_pipeline(read_saved_model(saved), load_recipe("exact")).model


def observed(evidence: Evidence) -> Statistics:
    """What flows through a model on the calibration samples."""
    from tfopt.learn.observe import SampleStatistics

    return SampleStatistics(evidence.calibration)


def _observed_or_recalled(evidence: Evidence, original: Model) -> Statistics:
    """Without any data, what batch normalisations remember of it."""
    from tfopt.learn.recalled import RecalledStatistics

    statistics = observed(evidence)
    return RecalledStatistics(statistics, original) if evidence.is_synthetic else statistics
