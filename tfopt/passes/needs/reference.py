"""The model that a lossy step is held against and taught by."""

from __future__ import annotations

from dataclasses import dataclass

from tfopt.ir.graph import Model


@dataclass(frozen=True, eq=False)
class Reference:
    """`model` as it stood before the first lossy step of this run: it gives the original's answers, in the form that
    the exact steps gave it, so that its nodes have the names that later steps see."""

    model: Model
