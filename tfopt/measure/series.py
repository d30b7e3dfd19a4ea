"""What series of timings say: quantiles of all calls, and the speedup of one series over another with its interval.

Why these statistics and no others stands in docs/explanation/benchmarking.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.measure.student import student_quantile
from tfopt.measure.timing import Turn

CONFIDENCE: Final = 0.99
#: Of the rounds, the share that counts: those in which the machine left the calls alone. Noise only ever adds time.
CALM: Final = 0.1
#: Of a turn, the quantile that stands for it.
TURN_QUANTILE: Final = 0.25
#: What two processes with one model differ by even on a quiet machine (other addresses, other pages), as a share of
#: the time: what is expected of the spread between processes before any was seen ...
PROCESS_SPREAD: Final = 0.01
#: ... and for how many processes' worth of evidence that expectation counts.
PRIOR_WEIGHT: Final = 3
#: Of the processes, the share that is left out at each end.
TRIMMED: Final = 0.15
#: Nothing inside this margin is called a difference: nobody would act on it.
MARGIN: Final = 0.02
#: An interval that lies within this of 1 shows that there is no difference worth a word.
EQUAL: Final = 0.05
#: Calls further above the third quartile than this many interquartile ranges are outliers (Tukey's "far out").
FAR_OUT: Final = 3.0

_RESAMPLES: Final = 100

Verdict = Literal["faster", "slower", "same", "unclear"]
#: Seconds of the rounds of one process: one figure a round.
Rounds = Sequence[float]


@dataclass(frozen=True)
class Estimate:
    """A logarithm that several processes measured: its mean, standard error and the latter's degrees of freedom."""

    mean: float
    error: float
    freedom: float

    def minus(self, other: Estimate) -> Estimate:
        """The difference of two independent ones (degrees of freedom after Welch and Satterthwaite)."""
        variance, theirs = self.error**2, other.error**2
        freedom = (variance + theirs) ** 2 / (variance**2 / self.freedom + theirs**2 / other.freedom)
        return Estimate(self.mean - other.mean, math.sqrt(variance + theirs), freedom)

    def half_width(self, confidence: float) -> float:
        return self.error * student_quantile((1 + confidence) / 2, self.freedom)


@dataclass(frozen=True)
class Speedup:
    """How many times faster than what it is compared to, with an interval that covers it with `confidence`.

    The interval holds for other processes on the same machine too: it knows how the processes differed. `rounds` and
    `processes` are how many it rests on.
    """

    value: float
    low: float
    high: float
    confidence: float
    rounds: int
    processes: int = 1

    @property
    def verdict(self) -> Verdict:
        """Faster or slower: the whole interval lies more than MARGIN away from 1. Same: it lies within EQUAL of 1."""
        if self.low > 1 + MARGIN:
            return "faster"
        if self.high < 1 / (1 + MARGIN):
            return "slower"
        return "same" if self.low >= 1 / (1 + EQUAL) and self.high <= 1 + EQUAL else "unclear"

    @property
    def precision(self) -> float:
        """Half the width of the interval, as a share of the value."""
        return math.sqrt(self.high / self.low) - 1

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Speedup:
        return cls(**{name: value for name, value in data.items() if name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Percentiles:
    """Over all timed calls of all processes, outliers included, in seconds.

    outliers: how many calls lie more than FAR_OUT interquartile ranges above the third quartile.
    """

    median: float
    p90: float
    p99: float
    fastest: float
    slowest: float
    calls: int
    outliers: int = 0


def percentiles(turns: Sequence[Turn] | Sequence[NDArray[np.float64]]) -> Percentiles:
    """Raises ValueError for no calls."""
    seconds = np.concatenate([np.ravel(turn) for turn in turns])
    quarter, median, three, p90, p99 = (float(each) for each in np.quantile(seconds, (0.25, 0.5, 0.75, 0.9, 0.99)))
    outliers = int((seconds > three + FAR_OUT * (three - quarter)).sum())
    return Percentiles(median, p90, p99, float(seconds.min()), float(seconds.max()), len(seconds), outliers)


def round_seconds(turns: Sequence[Turn] | NDArray[np.float64]) -> tuple[float, ...]:
    """What stands for each turn: the lower quartile of its calls, in seconds."""
    return tuple(float(np.quantile(turn, TURN_QUANTILE)) for turn in turns)


def calm_seconds(rounds: Rounds | NDArray[np.float64]) -> float:
    """The mean of the fastest tenth of the rounds: what a call takes when the machine leaves it alone."""
    return float(_calm(np.asarray(rounds, np.float64)))


def log_ratio(baseline: Sequence[Rounds], other: Sequence[Rounds]) -> Estimate:
    """log(baseline's seconds / other's), process by process; round i of the two ran side by side.

    Raises ValueError for no process, no round and for unequal numbers of them.
    """
    pairs = [_pair(ours, theirs) for ours, theirs in zip(baseline, other, strict=True)]
    ratios = np.array([math.log(_calm(pair[0]) / _calm(pair[1])) for pair in pairs])
    within = float(np.median([_bootstrap_variance(pair, seed) for seed, pair in enumerate(pairs)]))
    return pooled(ratios, within)


def log_seconds(processes: Sequence[Rounds]) -> Estimate:
    """log(seconds) of one series."""
    return log_ratio(processes, [(1.0,) * len(rounds) for rounds in processes])


def speedup(baseline: Sequence[Rounds], other: Sequence[Rounds], confidence: float = CONFIDENCE) -> Speedup:
    """Compare two series of equal form: rounds by process, measured side by side. Raises ValueError as `log_ratio`."""
    estimate = log_ratio(baseline, other)
    return as_speedup(estimate, sum(map(len, other)), len(other), confidence)


def as_speedup(
    estimate: Estimate, rounds: int, processes: int, confidence: float = CONFIDENCE, slack: float = 0.0
) -> Speedup:
    """The estimate of a logarithm as a factor; `slack` widens its interval at both ends."""
    half = estimate.half_width(confidence) + slack
    return Speedup(
        value=math.exp(estimate.mean),
        low=math.exp(estimate.mean - half),
        high=math.exp(estimate.mean + half),
        confidence=confidence,
        rounds=rounds,
        processes=processes,
    )


def _pair(ours: Rounds, theirs: Rounds) -> NDArray[np.float64]:
    if len(ours) != len(theirs) or not len(ours):
        raise ValueError(f"{len(ours)} rounds beside {len(theirs)}")
    return np.array([ours, theirs], np.float64)


def _calm(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the fastest tenth along the last axis, at least of one."""
    count = max(1, math.ceil(CALM * seconds.shape[-1]))
    found: NDArray[np.float64] = np.partition(seconds, count - 1, axis=-1)[..., :count].mean(axis=-1)
    return found


def _bootstrap_variance(pair: NDArray[np.float64], seed: int) -> float:
    """Of the log ratio of one process, by a circular block bootstrap (Politis and Romano, 1992).

    What disturbs a round often disturbs the next ones, so that blocks of neighbours are drawn and not rounds; both
    series by the same blocks, since a round is a pair.
    """
    count: int = pair.shape[1]
    length = math.ceil(math.sqrt(count))
    blocks = math.ceil(count / length)
    starts = np.random.default_rng(seed).integers(0, count, (_RESAMPLES, blocks, 1))
    drawn = ((starts + np.arange(length)) % count).reshape(_RESAMPLES, -1)[:, :count]
    # A bootstrap of few blocks sees too little, as a variance over n instead of n - 1 does.
    few = blocks / max(1, blocks - 1)
    logarithms: NDArray[np.float64] = np.log(_calm(pair[0][drawn]) / _calm(pair[1][drawn]))
    return few * float(logarithms.var())


def pooled(values: NDArray[np.float64], within: float) -> Estimate:
    """The mean of the processes' values, the extreme ones of seven or more left out: some were disturbed all the time.

    Its error is Tukey and McLaughlin's (1963), of the winsorized values. Few processes tell little of their spread, so
    that it is drawn towards what is expected, as in moderated t statistics (Smyth, 2004,
    https://doi.org/10.2202/1544-6115.1027). `within` is the variance of one value as its own process knows it.
    """
    count = len(values)
    cut = int(TRIMMED * count)
    kept = np.sort(values)[cut : count - cut]
    winsorized = np.clip(values, kept[0], kept[-1])
    seen = float(winsorized.var(ddof=1)) * (count / len(kept)) ** 2 if len(kept) > 1 else 0.0
    expected = PROCESS_SPREAD**2 + within
    # What is seen to be untrue is not expected any more.
    weight = PRIOR_WEIGHT * min(1.0, expected / seen) if seen else PRIOR_WEIGHT
    freedom = weight + len(kept) - 1
    variance = (weight * expected + (len(kept) - 1) * seen) / freedom
    return Estimate(float(kept.mean()), math.sqrt(max(variance, within) / count), freedom)
