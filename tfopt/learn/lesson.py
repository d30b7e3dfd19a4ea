"""Who is taught what by whom, on which samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.ir.graph import Model
from tfopt.learn.lifting import Weight
from tfopt.learn.objective import Target
from tfopt.passes.needs.teaching import Aim, Score


@dataclass(frozen=True, eq=False)
class Part:
    """One signature of it. `kept` are samples that are not trained on: they say how far the training has come. `labels`
    and `kept_labels` are the classes of both, where they are known."""

    key: str
    targets: tuple[Target, ...]
    samples: Samples
    kept: Samples
    labels: NDArray[np.int64] | None = None
    kept_labels: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Lesson:
    """`student` computes in floats, its values on grids rounded by FakeQuant ops; `weights` are what of it is trained.

    The loss is the distance of all answers, each a mean over examples, and `aim.hints_weight` times that of what is
    compared within the model; where there are labels, cross entropy takes its share of the answers' place.
    """

    student: Model
    teacher: Model
    weights: tuple[Weight, ...]
    parts: tuple[Part, ...]
    aim: Aim = field(default_factory=Aim)


@dataclass(frozen=True, eq=False)
class Trained:
    """`weights` are the best arrays by the weight's name, on their grids and under their masks; `masks` are those of
    the weights that have one.

    `steps` is how many were done, `best` behind which of them these weights were, 0 when nothing was better than
    before; `ended` says why, and `seconds` the time taken by all runs of it.
    """

    weights: Mapping[str, NDArray[np.float32]]
    masks: Mapping[str, NDArray[np.bool_]]
    before: Score
    after: Score
    steps: int
    best: int
    seconds: float
    ended: str
    failed: bool = False
