"""What a pass may ask about a candidate before it decides. Who runs the models is no matter of the pass's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tfopt.ir.graph import Model


@dataclass(frozen=True, slots=True)
class Verdict:
    """Would the limits hold? `text` says for people what was measured against which."""

    holds: bool
    text: str


class Trials(Protocol):
    """Runs candidates with their grids applied, on calibration samples: never on those that the result is judged on.

    Candidates have the signatures of the model that the pass sees. Raises ExecutionError when one fails on a sample.
    """

    def judge(self, model: Model) -> Verdict:
        """All calibration samples, against the outputs of the model as it was read and the limits of this run, of
        which a reserve is kept for other samples."""

    def damages(self, model: Model, candidates: Iterable[Model], *, aside: bool = False) -> Iterator[float]:
        """How far each candidate's outputs are from those of `model`, on a few samples and without labels: the root of
        the difference's power over the output's, of the output that differs most; infinite where a number is no longer
        finite. Of outputs that are no floats, the share of examples that differ. With `aside` these are samples that
        `SecondMoments` leaves out with the same word."""
