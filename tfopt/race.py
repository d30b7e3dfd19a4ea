"""Is one model faster than another? A short, honest answer: it may be that a few seconds cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import exp, log
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.ir.graph import Model
from tfopt.ir.joined import joined
from tfopt.pipeline import Speed
from tfopt.runtimes.tensorflow import ModelRunner

#: Examples of a call.
_BATCH: Final = 8
#: Rounds of the race, in each of which both models run: at least, at most, and the seconds after which it ends.
_LEAST, _MOST, _SECONDS = 16, 400, 3.0
#: Calls that warm a model up: TensorFlow chooses kernels and packs weights in the first ones.
_WARM: Final = 5
#: Seconds that a model's part of a round is filled up to with calls.
_TURN: Final = 0.002
#: Nothing inside this margin is a gain: nobody would act on it.
_MARGIN: Final = 0.02
#: Half the width of a 99 % interval of a median, in standard deviations of the number of rounds beyond it.
_Z: Final = 2.58


class TensorFlowRace:
    """Times models as TensorFlow runs them, on examples of one signature, the two in turns: what else the machine does
    then slows both down. In one session: how quickly its threads wake is settled when a session is made, and is more
    than a small model takes."""

    def __init__(self, key: str, samples: Samples) -> None:
        self._key = key
        self._inputs: Mapping[str, NDArray[Any]] = next(samples.batches(min(_BATCH, samples.count)))

    def __call__(self, before: Model, after: Model) -> Speed:
        with ModelRunner(joined({"before": before, "after": after}), optimize=True) as runner:
            keys = (f"before/{self._key}", f"after/{self._key}")
            return judged(rounds([partial(runner.run, key, self._inputs) for key in keys]))


def rounds(calls: list[Callable[[], object]], clock: Callable[[], float] = perf_counter) -> list[float]:
    """The logarithm of the first call's seconds over the second's, round by round; who is first changes."""
    repeats = [_repeats(call, clock) for call in calls]
    made: list[float] = []
    start = clock()
    while len(made) < _LEAST or (len(made) < _MOST and clock() - start < _SECONDS):
        seconds = [0.0, 0.0]
        for at in (0, 1) if len(made) % 2 else (1, 0):
            calls[at]()  # pays for the caches that the other one left
            seconds[at] = _timed(calls[at], repeats[at], clock)
        made.append(log(seconds[0] / seconds[1]))
    return made


def judged(logarithms: list[float]) -> Speed:
    """By the median of the rounds and the interval that its rank leaves likely (99 %), whatever their spread."""
    ordered = np.sort(logarithms)
    count = len(ordered)
    half = _Z * count**0.5 / 2
    low = exp(ordered[max(0, int(count / 2 - half))])
    high = exp(ordered[min(count - 1, int(np.ceil(count / 2 + half)) - 1)])
    text = f"{exp(float(np.median(ordered))):.2f}x as fast ({low:.2f}-{high:.2f} with 99 % confidence)"
    faster = True if low > 1 + _MARGIN else False if high < 1 + _MARGIN else None
    return Speed(faster, text)


def _repeats(call: Callable[[], object], clock: Callable[[], float]) -> int:
    for _ in range(_WARM):
        call()
    return max(1, int(_TURN / max(_timed(call, 1, clock), 1e-6)))


def _timed(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats
