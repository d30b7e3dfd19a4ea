"""Candidates of a pass, run on calibration samples in floating point with every value on its grid."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.data.aside import parted
from tfopt.errors import FidelityError
from tfopt.fidelity import Gate, Judgement, classifier_output, compare, judge
from tfopt.fidelity.measurement import Arrays
from tfopt.fidelity.metrics import OutputFidelity
from tfopt.ir.graph import Model
from tfopt.passes.needs.trials import Verdict
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant

#: Examples of each signature that damages are measured on, which is enough to rank layers by, and that candidates are
#: judged on: a search runs some twenty of them.
FEW, MOST = 32, 1000
#: Examples of a call.
_BATCH = 32


class CalibrationTrials:
    """`passes.trials.Trials` over samples by signature. `labels` are the classes of the main signature's samples,
    which the gate measures accuracy with; damages do without."""

    def __init__(
        self,
        original: Model,
        samples: Mapping[str, Samples],
        gate: Gate,
        *,
        main: str,
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        some = {id(one): _some(one, MOST) for one in samples.values()}
        self._original = original
        self._whole = dict(samples)
        self._samples = {key: some[id(one)] for key, one in samples.items()}
        self._gate = gate
        self._main = main
        self._labels = None if labels is None else labels[_drawn(samples[main], MOST)]
        self._expected: dict[str, Arrays] = {}

    def judge(self, model: Model) -> Verdict:
        found = _outputs(model, self._samples, _distinct(model, self._samples))
        if missing := [key for key in found if key not in self._expected]:
            self._expected |= _outputs(self._original, self._samples, missing)
        try:
            judgements = [
                self._judgement(key, {name: self._expected[key][name] for name in outputs}, outputs)
                for key, outputs in found.items()
            ]
        except FidelityError as error:  # other shapes: as many boxes as are found, for example
            return Verdict(False, error.what)
        texts = [reason for judgement in judgements for reason in judgement.reasons]
        holds = all(judgement.passed for judgement in judgements)
        return Verdict(holds, "; ".join(texts or [judgement.summary for judgement in judgements]))

    def damages(self, model: Model, candidates: Iterable[Model], *, aside: bool = False) -> Iterator[float]:
        keys = _distinct(model, self._samples)
        chosen = {key: parted(self._whole[key])[1] if aside else self._samples[key] for key in keys}
        few = {key: _some(one, FEW) for key, one in chosen.items()}
        expected = _outputs(model, few, keys)
        for candidate in candidates:
            made = _outputs(candidate, few, keys)
            yield max(damage(expected[key], made[key]) for key in keys) if keys else 0.0

    def _judgement(self, key: str, expected: Arrays, found: Arrays) -> Judgement:
        method_name = self._original.signatures[key].method_name
        classifies = classifier_output(expected, method_name) is not None
        gate = self._gate if key == self._main or classifies else replace(self._gate, max_drop=None)
        labels = self._labels if classifies and self._samples[key] is self._samples[self._main] else None
        kept = gate.with_reserve(expected, method_name)
        count = self._samples[key].count
        return judge(expected, found, kept, exact=False, method_name=method_name, labels=labels, samples=count)


def damage(expected: Arrays, found: Arrays) -> float:
    """As `Trials.damages` says, of one signature; infinite where an output has another shape."""
    try:
        return max(map(_damage, compare(expected, found).values()), default=0.0)
    except FidelityError:
        return inf


def _damage(output: OutputFidelity) -> float:
    if output.not_finite:
        return inf
    return 1 - output.equal if output.snr_db is None else float(10 ** (-output.snr_db / 20))


def _some(samples: Samples, most: int) -> Samples:
    places = _drawn(samples, most)
    return samples if len(places) == samples.count else samples.take(places)


def _drawn(samples: Samples, most: int) -> NDArray[np.int64]:
    """The places of so many examples, or as many as there are, evenly from first to last: a file may be sorted."""
    block = samples.batching.block
    blocks = samples.count // block
    starts = np.unique(np.linspace(0, blocks - 1, min(blocks, max(1, most // block))).round().astype(np.int64))
    return np.asarray((starts[:, None] * block + np.arange(block)).ravel())


def _distinct(model: Model, samples: Mapping[str, Samples]) -> Collection[str]:
    """One of each group of signatures that compute the same of the same samples."""
    found: dict[Any, str] = {}
    for key, signature in model.signatures.items():
        if key in samples:
            fed = sorted((name, entry.node) for name, entry in signature.inputs.items())
            made = sorted((name, model.graph.outputs[entry.position]) for name, entry in signature.outputs.items())
            found.setdefault((id(samples[key]), *fed, *made), key)
    return list(found.values())


def _outputs(model: Model, samples: Mapping[str, Samples], keys: Iterable[str]) -> dict[str, Arrays]:
    with ModelRunner(with_fake_quant(model)) as runner:
        return {key: samples[key].map(partial(runner.run, key), _BATCH) for key in keys}
