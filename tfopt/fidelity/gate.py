"""The gate: is what was measured good enough? Every refusal says measured value, limit, excess, samples and bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil, floor, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import FidelityError, UsageError
from tfopt.fidelity.bounds import CONFIDENCE, share_at_least
from tfopt.fidelity.measurement import WHAT_IS_A_CLASSIFIER, Arrays, Fidelity, classifier_output, measure
from tfopt.fidelity.metrics import OutputFidelity
from tfopt.words import counted

#: An exact recipe may only change the order of float32 arithmetic (unit roundoff 6e-8). Through some hundred layers
#: that grows to about 1e-6 of the largest output, 1e-5 in a badly conditioned model; the narrowest real change, to
#: half precision, makes 5e-4 in one layer.
EXACT_TOLERANCE = 1e-4
#: Outputs in half precision are themselves rounded: four units in the last place.
_COARSER = {"float16": 4 * 2.0**-10, "bfloat16": 4 * 2.0**-7}
#: Integers, bools and strings are equal; but an index that is computed from floats may flip between two within
#: rounding of each other.
EXACT_SHARE = 0.999
DEFAULT_MAX_DROP = 1.0
DEFAULT_MIN_COSINE = 0.99
#: The share of what may be lost that is used up where samples are chosen by: others lose a little more.
USED = 0.75

_PERCENT = f"{CONFIDENCE:.0%}"
#: Metrics by the flag that limits them; what is exact has no flag.
_DROPS = ("accuracy", "agreement")
_SIMILARITIES = ("cosine", "equal_share")


@dataclass(frozen=True, slots=True)
class Check:
    """One limit against what was measured; `text` says both for people."""

    metric: str
    measured: float
    limit: float
    passed: bool
    text: str


@dataclass(frozen=True)
class Judgement:
    """What was measured, and how it stands against every limit."""

    fidelity: Fidelity
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it failed; empty when it passed."""
        return tuple(check.text for check in self.checks if not check.passed)

    @property
    def summary(self) -> str:
        """One line for people: every limit, and how well a classifier does even if nothing limits that."""
        texts = [check.text for check in self.checks]
        if self.fidelity.classifier is not None and not {"accuracy", "agreement"} & {c.metric for c in self.checks}:
            texts.append(_told(self.fidelity)[1])
        return "; ".join(texts)

    @property
    def widened(self) -> str | None:
        """The flags with limits that would let it pass; None when it passed, and where no limit helps."""
        failed = [check for check in self.checks if not check.passed]
        drops = [check.measured for check in failed if check.metric in _DROPS]
        cosines = [check.measured for check in failed if check.metric in _SIMILARITIES]
        if not failed or len(drops) + len(cosines) < len(failed) or min(cosines, default=0) < 0:
            return None
        flags = [f"--max-drop {ceil(round(max(drops) * 100, 6)) / 100:g}"] if drops else []
        flags += [f"--min-cosine {floor(min(cosines) * 1e4) / 1e4:g}"] if cosines else []
        return " ".join(flags)

    def require(self, where: str | None = None, hint: str = "nothing was written") -> None:
        """Raise FidelityError with every reason, unless it passed."""
        if not self.passed:
            raise FidelityError("; ".join(self.reasons), where=where, hint=hint)

    def to_dict(self) -> dict[str, Any]:
        """As JSON carries it: an infinite figure is null."""
        checks = [
            {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in row.items()}
            for row in map(asdict, self.checks)
        ]
        return {"passed": self.passed, "checks": checks, **self.fidelity.to_dict()}


@dataclass(frozen=True, slots=True)
class Gate:
    """Limits. What the caller leaves open follows from what is judged:

    - an exact result stays within `EXACT_TOLERANCE` of the largest output;
    - a lossy classifier loses at most 1 point, any other lossy model keeps a mean cosine similarity of 0.99 in every
      output, and where an output is text or bools, that share of equal examples.

    `max_drop` is in absolute points: of accuracy when there are labels, else of agreement with the original.
    """

    max_drop: float | None = None
    min_cosine: float | None = None

    @classmethod
    def of(cls, *, max_drop: str | float | None = None, min_cosine: float | None = None) -> Gate:
        """A gate from what people write: `0.5` and `0.5%` are half a point. Raises UsageError."""
        if min_cosine is not None and not 0 <= min_cosine <= 1:
            raise UsageError(f"a least cosine similarity (--min-cosine) lies between 0 and 1, not at {min_cosine}")
        return cls(None if max_drop is None else _points(max_drop), min_cosine)

    def with_reserve(self, outputs: Arrays, method_name: str = "") -> Gate:
        """Tighter limits for a lossy result of a model with these outputs, so that other samples hold to this gate."""
        drop, cosine = self.max_drop, self.min_cosine
        if drop is None and cosine is None:
            classifies = classifier_output(outputs, method_name) is not None
            drop, cosine = (DEFAULT_MAX_DROP, None) if classifies else (None, DEFAULT_MIN_COSINE)
        return Gate(
            None if drop is None else USED * drop,
            None if cosine is None else 1 - USED * (1 - cosine),
        )

    def check_suits(self, outputs: Arrays, method_name: str = "") -> None:
        """Raise UsageError when `max_drop` is asked of a model that is no classifier."""
        if self.max_drop is not None and classifier_output(outputs, method_name) is None:
            raise UsageError(
                f"a largest drop was asked for, but the model is no classifier: {WHAT_IS_A_CLASSIFIER}",
                hint=f"use a least cosine similarity (--min-cosine {DEFAULT_MIN_COSINE})",
            )


def judge(
    reference: Arrays,
    candidate: Arrays,
    gate: Gate = Gate(),
    *,
    exact: bool,
    method_name: str = "",
    labels: NDArray[np.int64] | None = None,
    samples: int | None = None,
) -> Judgement:
    """Measure a candidate's outputs against the original's and hold them against the gate.

    `exact` says that every step claims to change nothing but rounding; `samples` is as in `measure`. Raises what
    `measure` and `Gate.check_suits` raise; a failed check does not raise, `Judgement.require` does.
    """
    gate.check_suits(reference, method_name)
    found = measure(reference, candidate, method_name=method_name, labels=labels, samples=samples)
    checks = [*_finite(found), *(_exact(found, reference) if exact else ())]
    default = not exact and gate.max_drop is None and gate.min_cosine is None
    if gate.max_drop is not None or (default and found.classifier is not None):
        checks.append(_drop(found, DEFAULT_MAX_DROP if gate.max_drop is None else gate.max_drop))
    if gate.min_cosine is not None or (default and found.classifier is None):
        checks += _similar(found, DEFAULT_MIN_COSINE if gate.min_cosine is None else gate.min_cosine)
    return Judgement(found, tuple(checks))


def _points(text: str | float) -> float:
    try:
        points = float(text.strip().removesuffix("%")) if isinstance(text, str) else float(text)
    except ValueError as error:
        raise UsageError(
            f"a largest drop (--max-drop) is a number of points, not {text!r}", hint="for example 0.5"
        ) from error
    if not 0 <= points <= 100:
        raise UsageError(f"a largest drop (--max-drop) lies between 0 and 100 points, not at {text}")
    return points


def _finite(found: Fidelity) -> Iterator[Check]:
    for name, output in found.outputs.items():
        if output.not_finite:
            text = f"{_broken(output.not_finite)} of output {name!r}, where the original's are finite"
            yield Check("not_finite", output.not_finite, 0, False, text)


def _broken(count: int) -> str:
    return "1 value is NaN or infinite" if count == 1 else f"{count} values are NaN or infinite"


def _exact(found: Fidelity, reference: Arrays) -> Iterator[Check]:
    for name, output in found.outputs.items():
        kind = reference[name].dtype
        if output.max_rel is None or kind.kind in "iu":
            yield _alike("equal", name, output.equal, EXACT_SHARE, found.samples)
        else:
            limit = max(EXACT_TOLERANCE, _COARSER.get(kind.name, 0.0))
            text = (
                f"output {name!r} differs by up to {output.max_rel:.2g} of its largest value on "
                f"{counted(found.samples, 'sample')}, {limit:.2g} allowed"
            )
            passed = output.max_rel <= limit
            more = "" if passed else f", this is {output.max_rel / limit:.3g} times that"
            yield Check("max_rel", output.max_rel, limit, passed, text + more)


def _alike(metric: str, name: str, share: float, limit: float, samples: int) -> Check:
    """Of an output without distances: the share of samples on which it is equal."""
    passed = share >= limit
    short = "" if passed else f", {100 * (limit - share):.2f} points more"
    text = f"output {name!r} is equal on {share:.2%} of {counted(samples, 'sample')}, {limit:.2%} wanted{short}"
    return Check(metric, share, limit, passed, text)


def _drop(found: Fidelity, limit: float) -> Check:
    metric, told, lost, bound = _told(found)
    moved = f"{-lost:.2f} points won" if lost < 0 else f"{lost:.2f} points lost"
    # A share of samples has no more than nine digits; beyond them is rounding.
    passed = round(lost, 9) <= limit
    more = "" if passed else f", {lost - limit:.2f} too many"
    text = (
        f"{told} on {counted(found.samples, 'sample')}: {moved}, {limit:g} allowed{more} "
        f"(a loss of at most {bound:.2f} with {_PERCENT} confidence)"
    )
    return Check(metric, lost, limit, passed, text)


def _told(found: Fidelity) -> tuple[str, str, float, float]:
    """What is compared of a classifier, in words, the points lost, and the most that are likely lost."""
    if found.accuracy_before is not None and found.accuracy_after is not None and found.drop_bound is not None:
        told = f"accuracy {found.accuracy_before:.2%} → {found.accuracy_after:.2%}"
        return "accuracy", told, 100 * (found.accuracy_before - found.accuracy_after), 100 * found.drop_bound
    assert found.agreement is not None
    assert found.agreement_bound is not None
    told = f"agreement with the original {found.agreement:.2%}"
    if found.classes == 1:
        told += " (all of one class, which says little)"
    return "agreement", told, 100 * (1 - found.agreement), 100 * (1 - found.agreement_bound)


def _similar(found: Fidelity, limit: float) -> Iterator[Check]:
    for name, output in found.outputs.items():
        if output.cosine is None:
            yield _alike("equal_share", name, output.equal, limit, found.samples)
            continue
        passed = output.cosine >= limit
        short = "" if passed else f", {limit - output.cosine:.2g} too low"
        text = (
            f"cosine similarity of output {name!r} is {output.cosine:.4f} on {counted(found.samples, 'sample')}, "
            f"{limit:g} wanted{short}{_reach(output, found.samples)}"
        )
        yield Check("cosine", output.cosine, limit, passed, text)


def _reach(output: OutputFidelity, samples: int) -> str:
    if output.cosine_min is None:
        return ""
    covered = share_at_least(samples, samples)
    return f" (at least {output.cosine_min:.4f} for {covered:.1%} of inputs with {_PERCENT} confidence)"
