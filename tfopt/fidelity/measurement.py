"""A whole signature against the original's: all outputs, and what they mean when the model is a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidSamples, UsageError
from tfopt.fidelity.bounds import drop_at_most, share_at_least
from tfopt.fidelity.metrics import OutputFidelity, compare, is_scores
from tfopt.words import counted

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

CLASSIFY = "tensorflow/serving/classify"
_SCORES = "scores"


@dataclass(frozen=True)
class Fidelity:
    """What was measured on `samples` held-out examples. Shares are 0..1; `classifier` names the output of classes.

    `classes` counts the different classes that the original gives them: agreement on a single one says little.
    `agreement_bound` is the least agreement and `drop_bound` the largest drop of accuracy that the samples leave
    likely (95 %, `tfopt.fidelity.bounds`).
    """

    samples: int
    outputs: Mapping[str, OutputFidelity]
    classifier: str | None = None
    classes: int | None = None
    agreement: float | None = None
    agreement_bound: float | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    drop_bound: float | None = None

    @property
    def max_abs(self) -> float:
        return max((o.max_abs for o in self.outputs.values() if o.max_abs is not None), default=0.0)

    @property
    def max_rel(self) -> float:
        return max((o.max_rel for o in self.outputs.values() if o.max_rel is not None), default=0.0)

    @property
    def cosine(self) -> float:
        """Of the output that is least like the original's."""
        return min((o.cosine for o in self.outputs.values() if o.cosine is not None), default=1.0)

    @property
    def snr_db(self) -> float:
        """Of the output that is least like the original's."""
        return min((o.snr_db for o in self.outputs.values() if o.snr_db is not None), default=inf)

    @property
    def kl(self) -> float | None:
        return self.outputs[self.classifier].kl if self.classifier is not None else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON carries it: an infinite figure is null."""
        figures = {
            "samples": self.samples,
            "classifier": self.classifier,
            "classes": self.classes,
            "agreement": self.agreement,
            "agreement_bound": self.agreement_bound,
            "accuracy_before": self.accuracy_before,
            "accuracy_after": self.accuracy_after,
            "drop_bound": self.drop_bound,
            "kl": self.kl,
            "cosine": self.cosine,
            "snr_db": self.snr_db if isfinite(self.snr_db) else None,
            "max_abs": self.max_abs,
            "max_rel": self.max_rel if isfinite(self.max_rel) else None,
        }
        return {**figures, "outputs": {name: output.to_dict() for name, output in self.outputs.items()}}


def measure(
    reference: Arrays,
    candidate: Arrays,
    *,
    method_name: str = "",
    labels: NDArray[np.int64] | None = None,
    samples: int | None = None,
) -> Fidelity:
    """Compare two runs on the same examples (axis 0); `labels` are their true classes, int64[examples].

    `samples` is the number of examples, by default the rows of the classifier's output, else of the first one; not
    every output has a row for each (`Samples.map`).

    Raises FidelityError when outputs differ in name, dtype or shape, UsageError for labels of a model that is no
    classifier, InvalidSamples for labels that do not fit its classes.
    """
    outputs = compare(reference, candidate)
    name = classifier_output(reference, method_name)
    if samples is None:
        rows = reference.values() if name is None else (reference[name],)
        samples = next((len(array) for array in rows if array.ndim), 0)
    if labels is not None:
        check_classes(labels, reference, method_name)
    if name is None:
        return Fidelity(samples, outputs)
    before, after = predicted(reference[name]), predicted(candidate[name])
    same, count = int((before == after).sum()), len(before)
    found = Fidelity(samples, outputs, name, len(np.unique(before)), same / count, share_at_least(same, count))
    if labels is None:
        return found
    if len(labels) != len(before):
        raise InvalidSamples(f"{counted(len(labels), 'label')} for {counted(len(before), 'sample')}")
    right_before, right_after = before == labels, after == labels
    return replace(
        found,
        accuracy_before=float(right_before.mean()),
        accuracy_after=float(right_after.mean()),
        drop_bound=drop_at_most(right_before, right_after),
    )


WHAT_IS_A_CLASSIFIER = "a classifier has one float output [examples, classes], or one integer output [examples]"


def classifier_output(outputs: Arrays, method_name: str = "") -> str | None:
    """The output that holds classes, or None.

    It is `scores` of a signature with the classify method; else the only float output when it is [N,C] with two or
    more columns; else, in a signature without float outputs, the only output when it is one integer per example. A
    regression of several numbers looks the same as the second: ask for a least cosine there.
    """
    outputs = {name: array for name, array in outputs.items() if array.size}
    if method_name == CLASSIFY and _SCORES in outputs and is_scores(outputs[_SCORES]):
        return _SCORES
    floats = [name for name, array in outputs.items() if array.dtype.kind in "fcV"]
    if floats:
        return floats[0] if len(floats) == 1 and is_scores(outputs[floats[0]]) else None
    if len(outputs) != 1:
        return None
    ((name, array),) = outputs.items()
    one_each = array.ndim >= 1 and array.size == len(array)
    return name if array.dtype.kind in "iu" and one_each else None


def predicted(array: NDArray[Any]) -> NDArray[np.int64]:
    """The class of each example: the largest of its scores, or the integer itself."""
    if is_scores(array):
        return np.asarray(array.astype(np.float64).argmax(1), np.int64)
    return array.reshape(-1).astype(np.int64)


def check_classes(
    labels: NDArray[np.int64], outputs: Arrays, method_name: str = "", *, where: str | None = None
) -> None:
    """Raises InvalidSamples for labels of classes that these outputs do not have, UsageError where there are no classes
    at all."""
    name = classifier_output(outputs, method_name)
    if name is None:
        raise UsageError("labels were given, but the model is no classifier", where=where, hint=WHAT_IS_A_CLASSIFIER)
    if is_scores(outputs[name]) and labels.size and np.max(labels) >= outputs[name].shape[1]:
        what = f"label {np.max(labels)}, but the model has {outputs[name].shape[1]} classes"
        raise InvalidSamples(what, where=where, hint="classes count from 0")
