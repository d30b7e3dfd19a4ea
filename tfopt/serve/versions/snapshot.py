"""What is available of a model at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tfopt.serve.versions.servable import Servable


@dataclass(frozen=True)
class Snapshot:
    """Replaced whole, so that readers need no lock. A label may name a version that is not available any more."""

    servables: Mapping[int, Servable] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def latest(self) -> int | None:
        return max(self.servables, default=None)
