"""What a pass may ask about time. Who runs the models is no matter of the pass's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tfopt.ir.graph import Model


@dataclass(frozen=True, slots=True)
class OpTime:
    """How long an op takes in one call, all its runs together, and which nodes of the model it stands for."""

    covers: tuple[str, ...]
    seconds: float


class OpTimes(Protocol):
    """Runs models on this machine, as TensorFlow serves them, and says where their time goes."""

    def measure(self, models: Sequence[Model], batch_size: int) -> Sequence[Sequence[OpTime]]:
        """Of each model all ops of one call with so many examples, what is no op's own among them. All have the
        signatures of the model that the pass sees."""
