"""How long the artifacts of a version take for the same requests, so that a server can take the fastest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from tfopt.formats.serving.warmup import WarmupRequest
from tfopt.runtimes.base import Runtime

#: Seconds to spend in all; rounds at least and at most; requests in a round.
_BUDGET: Final = 2.0
_FEWEST, _MOST = 3, 100
_REQUESTS: Final = 4


def seconds_by_kind(runtimes: Mapping[str, Runtime], requests: Sequence[WarmupRequest]) -> dict[str, float]:
    """The median seconds of one request for each kind, in turns so that all meet the same moments; nothing where there
    are not two artifacts and a request that all of them answer. What is warm already is expected."""
    common = [each for each in requests if all(each.signature in runtime.signatures for runtime in runtimes.values())]
    asked = common[:_REQUESTS]
    if len(runtimes) < 2 or not asked:
        return {}
    taken: dict[str, list[float]] = {kind: [] for kind in runtimes}
    end = time.monotonic() + _BUDGET
    for number in range(_MOST):
        if number >= _FEWEST and time.monotonic() > end:
            break
        for kind, runtime in runtimes.items():
            begun = time.perf_counter()
            for request in asked:
                runtime.run(request.signature, request.inputs)
            taken[kind].append((time.perf_counter() - begun) / len(asked))
    return {kind: median(seconds) for kind, seconds in taken.items()}
