"""Which elements of weights go, by the options that all passes have which set some to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe
from tfopt.passes.weights.sparsity import Mask, Matrix, mask_of_every, masks, parse_block, parse_pattern

#: The share of zeros when neither a share nor a pattern is given.
SPARSITY: Final = 0.5


@dataclass(frozen=True, slots=True)
class MaskSelection:
    """Which weights of a layer go, by the options of a pass: a share of them, or a pattern's."""

    share: float
    together: bool
    block: tuple[int, int]
    pattern: tuple[int, int] | None

    @classmethod
    def of(cls, sparsity: float | None, scope: str | None, block: str, pattern: str | None) -> MaskSelection:
        """A share is one over all layers together where no `scope` is given. Raises InvalidRecipe for options out of
        range or that do not go together."""
        if sparsity is not None and not 0 <= sparsity < 1:
            raise InvalidRecipe(f"sparsity is {sparsity}", hint="give at least 0 and less than 1")
        kept = parse_pattern(pattern) if pattern is not None else None
        if kept is not None and (sparsity is not None or block != "1x1" or scope == "global"):
            what = f"the pattern {pattern} says by itself which weights go"
            raise InvalidRecipe(what, hint="leave out sparsity, scope and block")
        together = scope == "global" or (scope is None and kept is None)
        return cls(SPARSITY if sparsity is None else sparsity, together, parse_block(block), kept)

    def reason_to_leave(self, matrix: Matrix) -> str | None:
        if self.pattern is not None and matrix.in_channels % self.pattern[1]:
            return f"{matrix.in_channels} input channel(s) are no multiple of {self.pattern[1]}"
        return None

    def masks(self, matrices: Sequence[Matrix], reached: float = 1.0) -> list[Mask]:
        """The elements that go of each; on the way there, where so much of it is `reached` (0 to 1), the smallest of
        them."""
        if self.pattern is None:
            return masks(matrices, self.share * reached, self.block, self.together)
        whole = [mask_of_every(matrix, *self.pattern) for matrix in matrices]
        if reached == 1.0:
            return whole
        pairs = zip(matrices, whole, strict=True)
        return [_part(np.abs(matrix.back(matrix.values)), mask, reached) for matrix, mask in pairs]


def check_masks(sparsity: float | None, scope: str | None, block: str, pattern: str | None) -> None:
    """What a pass's options say, looked at before any work. Raises as `MaskSelection.of`."""
    MaskSelection.of(sparsity, scope, block, pattern)


def _part(magnitude: NDArray[Any], mask: Mask, share: float) -> Mask:
    """The share of the elements in a mask that are smallest."""
    chosen = np.flatnonzero(mask)
    order = np.argsort(magnitude.reshape(-1)[chosen], kind="stable")
    part = np.zeros(mask.size, np.bool_)
    part[chosen[order[: round(share * len(chosen))]]] = True
    return part.reshape(mask.shape)
