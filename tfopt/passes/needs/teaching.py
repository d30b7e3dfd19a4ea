"""What a pass may ask of a teacher: that a model is trained on samples until it answers as another does. Who trains
it is no matter of the pass's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, cos, pi
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

from numpy.typing import NDArray

from tfopt.errors import UnmetRequirement, UsageError
from tfopt.ir.graph import Model
from tfopt.passes.base import Finding
from tfopt.requirements import computes_bfloat16

#: Steps when nothing says how many.
STEPS: Final = 2000
#: Samples without which nothing is taught: what is learned of fewer says nothing about others.
FEWEST: Final = 32
#: Share of the steps in which the learning rate rises, and their largest number.
_WARMUP, _LONGEST_WARMUP = 0.05, 200
#: What is left of the learning rate at the end.
_LAST_RATE: Final = 0.01

#: What is done to samples: `images` are shifted and mirrored, `mixup` makes sums of two; `auto` moves images alone.
Augment: TypeAlias = Literal["auto", "none", "images", "mixup", "all"]
#: How answers are compared. `auto`: divergence of what goes into a softmax or a sigmoid, else squared error.
Loss: TypeAlias = Literal["auto", "kl", "mse", "cosine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Training ends with the first of `steps`, `epochs` and `seconds` that is said, or after `STEPS` steps.

    `seconds` of training alone; with it the result depends on how fast the machine is. `patience` is how many
    evaluations in a row may bring nothing better, None for no early end. `checkpoint` is a directory, written to every
    `checkpoint_seconds`, or less often where writing takes long. `threads` None leaves their number to TensorFlow.
    """

    steps: int | None = None
    epochs: float | None = None
    seconds: float | None = None
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0
    augment: Augment = "auto"
    patience: int | None = 6
    evaluations: int = 20
    checkpoint: Path | None = None
    checkpoint_seconds: float = 1.0
    mixed_precision: bool = False
    replicas: int = 1
    threads: int | None = None

    def total(self, examples: int) -> int | None:
        """How many steps; None when the clock alone decides."""
        given = [] if self.steps is None else [self.steps]
        if self.epochs is not None:
            given.append(max(1, ceil(self.epochs * examples / self.batch_size)))
        if not given and self.seconds is None:
            given.append(STEPS)
        return min(given, default=None)

    def rate(self, share: float) -> float:
        """The learning rate when this share of the training is done: a short rise, then half a cosine."""
        total = self.steps or STEPS
        rise = min(_WARMUP, _LONGEST_WARMUP / total)
        if share < rise:
            return self.learning_rate * (share / rise * (1 - _LAST_RATE) + _LAST_RATE)
        fallen = (1 + cos(pi * min(1.0, (share - rise) / (1 - rise)))) / 2
        return self.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * fallen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What the student is to become like. `hints_weight` is that of values within both models (those that patterns in
    `hints` name, or the ends of blocks), `labels_weight` (0 to 1) that of the labels, where there are any."""

    loss: Loss = "auto"
    temperature: float = 2.0
    hints: tuple[str, ...] = ()
    hints_weight: float = 0.0
    labels_weight: float = 0.0


def check_plan(plan: Plan, aim: Aim) -> None:
    """Raises UsageError for numbers out of range and options that do not go together, UnmetRequirement for what this
    processor cannot do."""
    problems = {
        "steps is 1 or more": plan.steps is not None and plan.steps < 1,
        "epochs is more than 0": plan.epochs is not None and not plan.epochs > 0,
        "seconds is more than 0": plan.seconds is not None and not plan.seconds > 0,
        "batch_size is 1 or more": plan.batch_size < 1,
        "learning_rate is more than 0": not plan.learning_rate > 0,
        "temperature is more than 0": not aim.temperature > 0,
        "labels_weight is 0 to 1": not 0 <= aim.labels_weight <= 1,
        "hints_weight is 0 or more": not aim.hints_weight >= 0,
        "replicas is 1 or more, and divides batch_size": plan.replicas < 1 or bool(plan.batch_size % plan.replicas),
        "seed is 0 or more": plan.seed < 0,
        "labels belong to samples as they are: augment is not mixup or all where labels_weight is more than 0": (
            aim.labels_weight > 0 and plan.augment in ("mixup", "all")
        ),
    }
    for rule, is_broken in problems.items():
        if is_broken:
            raise UsageError(rule)
    if plan.mixed_precision and not computes_bfloat16():
        raise UnmetRequirement("this processor does not multiply in bfloat16", hint="leave mixed_precision out")


@dataclass(frozen=True, slots=True)
class Score:
    """On samples that were not trained on: the loss of all answers together (at temperature 1), and the agreement of
    the worst: the share of equal classes, or the cosine of what is none."""

    loss: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Taught:
    """The student with the best weights found; the very model when none were better. `findings` tell how it went."""

    model: Model
    before: Score
    after: Score
    steps: int
    findings: tuple[Finding, ...]


class Schedule(Protocol):
    """Decides during training which elements of weights may differ from zero, from what it is shown alone. Its `repr`
    tells it from others."""

    def is_due(self, step: int, steps: int) -> bool:
        """Is there something to decide before this step, of so many?"""

    def masks(self, step: int, steps: int, weights: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """The masks of those that change, bool in the weight's shape, of the weights by name as trained so far, those
        that are masked not set to zero."""

    def is_settled(self, step: int, steps: int) -> bool:
        """Will no mask change from this step on? What was found before is no candidate for the result."""


class Teaching(Protocol):
    """Trains on calibration samples: never on those that the result is judged on."""

    def teach(self, student: Model, teacher: Model, plan: Plan, aim: Aim, schedule: Schedule | None = None) -> Taught:
        """Train the student's weights, biases and norms. Zeros of sparse weights stay zero, what is on a grid is on it
        in the end, one payload stays one; tables and integers stay as they are. With a `schedule` all weights of linear
        layers may get masks. Both models have the same signatures.

        Raises InvalidSamples without samples or with too few, UsageError for options that do not fit, OutputError for a
        checkpoint that cannot be written; the one before is kept then.
        """

    def student(self, path: str, like: Model) -> tuple[Model, tuple[Finding, ...]]:
        """A model of the user's own, a SavedModel or a .keras file, under the signatures of `like`.

        Raises UsageError when its inputs or outputs do not match, and what reading it raises.
        """
