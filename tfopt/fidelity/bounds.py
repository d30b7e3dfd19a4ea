"""How much a share that was measured on few samples says about all inputs. One-sided bounds, 95 % unless said."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


def share_at_least(hits: int, count: int, confidence: float = CONFIDENCE) -> float:
    """The smallest share that `hits` of `count` leave likely: the exact lower bound of a binomial share.

    With every sample a hit this is `(1 - confidence) ** (1 / count)`, about 1 - 3 / count.
    Source: C. J. Clopper and E. S. Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934).
    """
    if hits == 0:
        return 0.0
    misses = np.arange(count - hits + 1)
    log_ways = np.concatenate([[0.0], np.cumsum(np.log((count - misses[1:] + 1) / misses[1:]))])
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        with np.errstate(divide="ignore"):
            terms = log_ways + misses * np.log1p(-share) + (count - misses) * np.log(share)
        low, high = (share, high) if np.exp(terms).sum() < 1 - confidence else (low, share)
    return low


def drop_at_most(
    right_before: NDArray[np.bool_], right_after: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> float:
    """The largest drop of accuracy that the samples leave likely, as a share: an upper bound for paired shares.

    Both arrays are bool[samples] over the same samples; only those on which they differ tell anything. The adjusted
    Wald interval: one made-up sample in each of the two kinds of difference keeps it honest when there are few.
    Source: D. G. Bonett and R. M. Price, Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data, Journal of Educational and Behavioral Statistics 37 (2012).
    """
    count = len(right_before) + 2
    lost = (int((right_before & ~right_after).sum()) + 1) / count
    won = (int((~right_before & right_after).sum()) + 1) / count
    drop = lost - won
    return min(1.0, drop + NormalDist().inv_cdf(confidence) * sqrt((lost + won - drop * drop) / count))
