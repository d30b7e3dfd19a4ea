"""What a series of timings says: percentiles, and the speedup of one over another with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from tfopt.measure.timing import Turn

CONFIDENCE: Final = 0.99
#: A series is cut into this many stretches for the interval: what disturbs a round often disturbs the next ones too,
#: so that rounds are not independent. Stretches nearly are, and 20 are enough to leave out three at each end.
STRETCHES: Final = 20
#: Two loads of one file differ by as much: other addresses, other pages. An interval cannot see that, so nothing
#: inside this margin is called a difference.
MARGIN: Final = 0.02
#: An interval that lies within this of 1 shows that there is no difference worth a word.
EQUAL: Final = 0.05

Verdict = Literal["faster", "slower", "same", "unclear"]


@dataclass(frozen=True)
class Speedup:
    """How many times faster than the first artifact: the median over rounds of (its seconds / these seconds).

    `low`..`high` covers it with at least `confidence`, whatever the distribution: it is made of order statistics of
    the medians of STRETCHES stretches of rounds. With fewer rounds than that takes it is the whole range.
    """

    value: float
    low: float
    high: float
    confidence: float
    rounds: int

    @property
    def verdict(self) -> Verdict:
        """Faster or slower: the whole interval lies more than MARGIN away from 1. Same: it lies within EQUAL of 1."""
        if self.low > 1 + MARGIN:
            return "faster"
        if self.high < 1 / (1 + MARGIN):
            return "slower"
        return "same" if self.low >= 1 / (1 + EQUAL) and self.high <= 1 + EQUAL else "unclear"

    def to_dict(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence,
            "rounds": self.rounds,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Percentiles:
    """Over all timed calls, outliers included, in seconds."""

    median: float
    p90: float
    p99: float
    fastest: float
    slowest: float
    calls: int


def percentiles(turns: Sequence[Turn]) -> Percentiles:
    seconds = np.concatenate([np.asarray(turn) for turn in turns])
    median, p90, p99 = (float(each) for each in np.quantile(seconds, (0.5, 0.9, 0.99)))
    return Percentiles(median, p90, p99, float(seconds.min()), float(seconds.max()), len(seconds))


def round_medians(turns: Sequence[Turn]) -> tuple[float, ...]:
    """The median of each turn, in seconds."""
    return tuple(float(np.median(turn)) for turn in turns)


def speedup(baseline: Sequence[float], other: Sequence[float], confidence: float = CONFIDENCE) -> Speedup:
    """Compare two series of equal length whose elements were measured in the same round."""
    ratios = [a / b for a, b in zip(baseline, other, strict=True)]
    stretches = sorted(float(np.median(each)) for each in np.array_split(ratios, min(STRETCHES, len(ratios))))
    rank = order_rank(len(stretches), confidence)
    return Speedup(
        value=float(np.median(ratios)),
        low=stretches[rank],
        high=stretches[-1 - rank],
        confidence=confidence,
        rounds=len(ratios),
    )


def order_rank(count: int, confidence: float) -> int:
    """The largest k for which the (k+1)-th smallest and largest of `count` values cover the median.

    The number of values below the median is Binomial(count, 1/2) (David and Nagaraja, Order Statistics, 7.1), so the
    interval misses with twice the probability of at most k. 0, the whole range, also when that covers too little.
    """
    k = np.arange(count + 1)
    log_factorial = np.array([math.lgamma(each + 1) for each in k])
    tail = np.cumsum(np.exp(log_factorial[-1] - log_factorial - log_factorial[::-1] - count * math.log(2)))
    return max(0, int(np.searchsorted(tail, (1 - confidence) / 2, side="right")) - 1)
