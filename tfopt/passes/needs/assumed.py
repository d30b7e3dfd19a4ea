"""What samples would tell, guessed from the weights alone (`propagation`): `SecondMoments` and `Refits` without any."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Model
from tfopt.ir.linear import Linear
from tfopt.passes.needs.propagation import Propagation
from tfopt.passes.needs.refits import Followed, Pairs, Places, Refit
from tfopt.passes.needs.statistics import Moments

#: One row of so many is held out of a fit.
_HELD_OUT = 5


class AssumedMoments:
    """Deterministic. Layers of whose data nothing can be told are left out, and so are those in functions and those
    that read the inputs."""

    synthetic = True

    def moments(
        self, model: Model, layers: Sequence[Linear], *, aside: bool = False
    ) -> Iterator[tuple[Linear, Moments]]:
        asked = {layer.node.name: layer for layer in layers}
        for layer, rows, is_guessed in Propagation(model.graph).layers():
            if layer.node.name in asked and not is_guessed:
                yield asked[layer.node.name], _moments(rows)


def _moments(rows: NDArray[np.float32]) -> Moments:
    first = rows.mean(axis=1, dtype=np.float64)
    return Moments(first, rows.transpose(0, 2, 1) @ rows / np.float32(rows.shape[1]))


class AssumedRefits:
    """Shows both models the same rows. Deterministic."""

    synthetic = True

    def follow(self, reference: Model, refits: Sequence[Refit]) -> Followed:
        return _AssumedFollowed(reference, refits)


class _AssumedFollowed:
    """`Followed`: a row is an example of one place."""

    def __init__(self, reference: Model, refits: Sequence[Refit]) -> None:
        shown = Propagation(reference.graph, keep=[refit.wanted for refit in refits])
        deque(shown.layers(), maxlen=0)
        self._guessed = shown.guessed
        self._wanted = shown.rows

    def pairs(self, model: Model, refit: Refit) -> Pairs | None:
        added = refit.fused.residual
        shown = Propagation(model.graph, self._guessed, keep=[] if added is None else [added])
        read = {layer.node.name: rows for layer, rows, _ in shown.layers() if layer.node.name == refit.name}
        rows = read.get(refit.name)
        wanted = self._wanted.get(refit.wanted)
        residual = None if added is None else shown.rows.get(added)
        if rows is None or wanted is None or (added is not None and residual is None):
            return None
        if refit.kept is not None:
            wanted = wanted[:, list(refit.kept)]
        held_out = np.arange(len(wanted)) % _HELD_OUT == 0
        fitted, held = (
            Places(rows[:, part], None if residual is None else residual[part], wanted[part])
            for part in (~held_out, held_out)
        )
        return Pairs(fitted, held, 1)
